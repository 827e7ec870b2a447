"""What people meet at generation's addresses.

Every view is a function in one shape: its methods, sign-in, the row through `projects/access.py`
(a stranger gets 404), one verb, an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpRequest

from projects.back import came_from

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django_htmx.middleware import HtmxDetails

    class Request(HttpRequest):
        """A request of somebody who is signed in."""

        user: User
        htmx: HtmxDetails

else:
    Request = HttpRequest

__all__ = ["Request", "came_from"]
