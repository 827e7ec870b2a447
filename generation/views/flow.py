from django.http import HttpRequest, HttpResponse


def flow(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError
