from django.http import HttpRequest, HttpResponse


def board(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError


def subject(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError


def card(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError


def generate(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError
