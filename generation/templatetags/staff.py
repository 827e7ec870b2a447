"""What the first page of the admin says about the orders."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

from generation.admin.orders import LATE
from generation.models import Generation, Pause, State

register = template.Library()


@register.simple_tag
def staff_overview() -> dict[str, Any]:
    """`pauses`, and how many orders are `open`, `late`, or wait for staff (`review`)."""
    still_open = Generation.objects.open()
    return {
        "pauses": Pause.objects.all(),
        "open": still_open.count(),
        "late": still_open.filter(created_at__lt=timezone.now() - LATE).count(),
        "review": Generation.objects.filter(state=State.REVIEW).count(),
    }
