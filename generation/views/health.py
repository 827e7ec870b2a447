from django.http import HttpRequest, HttpResponse


def healthz(request: HttpRequest, **kwargs: str) -> HttpResponse:
    raise NotImplementedError
