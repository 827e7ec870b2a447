from django.http import HttpRequest, HttpResponse


def image(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError


def image_status(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError
