from django.http import HttpRequest, HttpResponse


def settings(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError
