"""What people meet at generation's addresses.

Every view is a function in one shape: its methods, sign-in, the row through `projects/access.py`
(a stranger gets 404), one verb, an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django_htmx.middleware import HtmxDetails

    class Request(HttpRequest):
        """A request of somebody who is signed in."""

        user: User
        htmx: HtmxDetails

else:
    Request = HttpRequest


def came_from(request: HttpRequest, otherwise: str) -> str:
    """The page of ours that a form stands on, or was reached from (its field `next`): where its
    answer leads without script."""
    page = request.POST.get("next") or request.headers.get("Referer", "")
    ours = url_has_allowed_host_and_scheme(
        page, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return page if ours else otherwise
