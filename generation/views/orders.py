from django.http import HttpRequest, HttpResponse


def order(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError


def cancel(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError


def queue(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError
