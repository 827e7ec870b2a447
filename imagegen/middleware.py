"""What is refused before anything else looks at it."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseNotFound

Answer = Callable[[HttpRequest], HttpResponse]


def refuse_nul(get_response: Answer) -> Answer:
    """An address with a NUL in it means nothing here, and PostgreSQL fails on it."""

    def answer(request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path:
            return HttpResponseNotFound("There is no such address.", content_type="text/plain")
        if "%00" in request.META.get("QUERY_STRING", ""):
            return HttpResponseBadRequest("An address has no NUL.", content_type="text/plain")
        return get_response(request)

    return answer
