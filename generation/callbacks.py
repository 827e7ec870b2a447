"""KIE's callbacks: a hint that a task has ended, and the way back to an order whose answer was lost.

The address of a callback carries the order and a tag made with our secret. KIE signs only the task
and the time, never the body, so nothing that a callback says is believed: the pair (order, task) is
kept, and recordInfo is asked.
"""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac

from generation.models import Generation


def tag_for(generation_id: str) -> str:
    return salted_hmac("generation.callbacks", generation_id, algorithm="sha256").hexdigest()[:32]


def is_tag_of(tag: str, generation_id: str) -> bool:
    return constant_time_compare(tag, tag_for(generation_id))


def url_for(generation: Generation) -> str:
    """Where KIE is to report this order; "" where the site has no public address."""
    if not settings.PUBLIC_URL:
        return ""
    path = reverse("generation:callback", args=[generation.pk, tag_for(generation.pk)])
    return f"{settings.PUBLIC_URL}{path}"
