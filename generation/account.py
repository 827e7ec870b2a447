"""What is left on our account at KIE, as KIE last said. The workers ask; pages only read it."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from credits.amounts import HUNDREDTHS, credits_text
from generation import doorbell
from generation.defaults import PROVIDER
from generation.kie.client import Kie, KieError
from generation.models import Account

log = logging.getLogger(__name__)

EVERY = timedelta(minutes=5)


def warning_level() -> int:
    """Hundredths of a KIE credit below which staff are warned."""
    return int(settings.KIE_LOW_CREDITS) * HUNDREDTHS


def ours() -> Account | None:
    """What is known of it; None before the first question to the account that is set now."""
    return _row().first()


def low() -> Account | None:
    """Our account, if less is left on it than the warning level."""
    return _row().filter(credits__lt=warning_level()).first()


def ring_if_due() -> None:
    if not _row().filter(next_at__gt=timezone.now()).exists():
        doorbell.ring("balance")


def ask_soon() -> None:
    """Staff want to know now."""
    _row().update(next_at=timezone.now())
    doorbell.ring("balance")


def ask(kie: Kie) -> None:
    """Asks KIE, unless another worker has just asked."""
    if not _is_our_turn():
        return
    try:
        left = kie.credit()
    except KieError as error:
        log.warning("[KIE] What is left on the account: %s", error.words)
        _row().update(trouble=error.words)
    else:
        _keep(left)


def _row() -> QuerySet[Account]:
    return Account.objects.filter(provider=PROVIDER, address=settings.KIE_API_URL)


def _is_our_turn() -> bool:
    """One of several workers gets True; what another account had left is forgotten."""
    now = timezone.now()
    row, _is_new = Account.objects.get_or_create(
        provider=PROVIDER, defaults={"address": settings.KIE_API_URL, "next_at": now}
    )
    if row.address != settings.KIE_API_URL:
        Account(provider=PROVIDER, address=settings.KIE_API_URL, next_at=now).save()
    return bool(_row().filter(next_at__lte=now).update(next_at=now + EVERY))


def _keep(left: int) -> None:
    is_low = left < warning_level()
    _row().update(credits=left, answered_at=timezone.now(), trouble="")
    has_changed = _row().filter(is_low=not is_low).update(is_low=is_low)
    if is_low and has_changed:
        log.error(
            "[KIE] %s credits are left on the account, fewer than %s: orders will stop",
            credits_text(left),
            settings.KIE_LOW_CREDITS,
        )
