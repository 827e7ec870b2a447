"""The request that views get: of somebody who is signed in, and with what htmx says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpRequest

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django_htmx.middleware import HtmxDetails

    class Request(HttpRequest):
        user: User
        htmx: HtmxDetails

else:
    Request = HttpRequest
