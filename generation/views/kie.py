from django.http import HttpRequest, HttpResponse


def callback(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError
