"""KIE's callbacks: a hint that a task has ended, and the way back to an order without an answer.

The address of a callback carries the order and a tag made with our secret. KIE signs only the task
and the time, never the body, so nothing that a callback says is believed: the pair (order, task) is
kept, and recordInfo is asked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from generation import doorbell, lifecycle
from generation.models import Callback, Generation

MOST_PER_ORDER = 20  # different tasks that somebody may claim for one order


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


def task_id_in(body: Any) -> str:
    """The task that a callback is about: `data.taskId`, `data.task_id` or `taskId`; "" if none."""
    if not isinstance(body, dict):
        return ""
    data = body["data"] if isinstance(body.get("data"), dict) else {}
    found = data.get("taskId") or data.get("task_id") or body.get("taskId")
    return found if isinstance(found, str) and len(found) <= 200 and found.isprintable() else ""


def is_signed(task_id: str, headers: Mapping[str, str]) -> bool:
    """Does KIE's signature hold? Always, where no webhook key is set.

    base64(HMAC-SHA256(key, taskId + "." + timestamp)). The time is not checked: a repeated
    callback does no harm, and how late KIE's own repeats may be is not known.
    """
    if not settings.KIE_WEBHOOK_KEY:
        return True
    message = f"{task_id}.{headers.get('X-Webhook-Timestamp', '')}".encode()
    digest = hmac.digest(settings.KIE_WEBHOOK_KEY.encode(), message, hashlib.sha256)
    return constant_time_compare(
        base64.b64encode(digest).decode(), headers.get("X-Webhook-Signature", "")
    )


def keep(generation: Generation, task_id: str) -> None:
    """Notes what was heard, once, and has it looked into: at once where we know the task."""
    with transaction.atomic():
        if generation.callbacks.count() < MOST_PER_ORDER:
            callback, _new = Callback.objects.get_or_create(generation=generation, task_id=task_id)
            if generation.task_id == task_id:
                heard(callback)
        if generation.task_id == task_id:
            lifecycle.hurry(generation, task_id)
        else:
            doorbell.ring("hear")


def heard(callback: Callback) -> None:
    """KIE has been, or is going to be, asked what it means."""
    Callback.objects.filter(pk=callback.pk).update(heard_at=timezone.now())
