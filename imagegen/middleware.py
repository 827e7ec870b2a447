"""What is refused before anything else looks at it, and where sign-in leads."""

from collections.abc import Callable

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseNotFound
from django.shortcuts import resolve_url

from projects.back import came_from

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


def back_from_sign_in(get_response: Answer) -> Answer:
    """Whoever pressed a button after the session had ended comes back to the page that it stands
    on: what the button posts to is no page."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        sign_in = resolve_url("account_login")
        if request.method == "POST" and response.get("Location", "").startswith(f"{sign_in}?next="):
            return redirect_to_login(came_from(request, "/"), sign_in)
        return response

    return answer
