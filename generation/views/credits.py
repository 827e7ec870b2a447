from django.http import HttpRequest, HttpResponse


def credits(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError
