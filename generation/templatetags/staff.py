"""What the admin says about the orders on its first page; the queues' pages under our policy."""

from __future__ import annotations

import re
from typing import Any

from django import template
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from generation.admin.orders import LATE
from generation.models import MOST_DEATHS, OPEN_STATES, Difference, Generation, State

register = template.Library()


@register.simple_tag
def staff_overview() -> dict[str, Any]:
    """How many orders are `open`, `late`, or wait for staff (`review`), and how many `differences`
    with KIE are open."""
    unfinished = Q(state__in=OPEN_STATES)
    late = unfinished & Q(created_at__lt=timezone.now() - LATE)
    set_aside = Q(state=State.STORING, deaths__gte=MOST_DEATHS)
    counts: dict[str, Any] = Generation.objects.filter(
        state__in=[*OPEN_STATES, State.REVIEW]
    ).aggregate(
        open=Count("pk", filter=unfinished),
        late=Count("pk", filter=late),
        review=Count("pk", filter=Q(state=State.REVIEW) | set_aside),
    )
    return {"differences": Difference.objects.open().count(), **counts}


@register.filter
def without_inline(html: SafeString) -> SafeString:
    """Takes out style and onclick attributes, which our policy refuses anyway, with a complaint.

    What is not markup has its quotes escaped, so nothing else is touched, and nothing is added.
    """
    return mark_safe(re.sub(r' (?:style|onclick)="[^"]*"', "", html))  # noqa: S308
