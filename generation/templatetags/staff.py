"""What the admin says about orders and our account at KIE; the queues' pages under our policy."""

from __future__ import annotations

import re
from typing import Any

from django import template
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from generation import account
from generation.admin.orders import LATE
from generation.defaults import PROVIDER
from generation.models import MOST_DEATHS, OPEN_STATES, Difference, Generation, Pause, State
from generation.pricing import percent_for

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


@register.simple_tag
def provider_account() -> dict[str, Any]:
    """What is known of our account at KIE (None before it was asked), the level below which it is
    low, and the pause of all ordering, if there is one."""
    known, level = account.ours(), account.warning_level()
    return {
        "known": known,
        "level": level,
        "is_low": bool(known and known.credits is not None and known.credits < level),
        "pause": Pause.objects.filter(provider=PROVIDER).first(),
        "provider": PROVIDER,
    }


@register.simple_tag
def multiplier_of(payer: Any) -> int:
    """What 100 KIE credits cost this payer now."""
    return percent_for(payer)


@register.filter
def without_inline(html: SafeString) -> SafeString:
    """Takes out style and onclick attributes, which our policy refuses anyway, with a complaint.

    What is not markup has its quotes escaped, so nothing else is touched, and nothing is added.
    """
    return mark_safe(re.sub(r' (?:style|onclick)="[^"]*"', "", html))  # noqa: S308
