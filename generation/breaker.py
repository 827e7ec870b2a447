"""A model that fails order after order is sent only one at a time, until one succeeds.

What counts is KIE's failing, not the order's: no answer to createTask, a render that failed, a
success without a picture. A description that was refused says nothing about the model.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models import F, QuerySet
from django.utils import timezone

from generation.models import Breaker, Generation, KieModel, State
from projects import live

log = logging.getLogger(__name__)

TRIPS_AT = 8  # failures in a row
BETWEEN_TRIES = timedelta(minutes=1)
TRY_LASTS = timedelta(minutes=10)


def failed(model: KieModel, why: str) -> None:
    Breaker.objects.get_or_create(model=model)
    Breaker.objects.filter(model=model).update(failures=F("failures") + 1, why=why[:500])
    if tripped().filter(model=model).update(next_try_at=timezone.now() + BETWEEN_TRIES):
        live.tell(live.EVERYBODY, "site")
        log.error("[KIE] %s fails order after order: %s", model, why)


def worked(model_pk: int) -> None:
    was_tripped = tripped().filter(model=model_pk).exists()
    Breaker.objects.filter(model=model_pk, failures__gt=0).update(
        failures=0, why="", next_try_at=None
    )
    if was_tripped:
        live.tell(live.EVERYBODY, "site")


def tripped() -> QuerySet[Breaker]:
    """Those of the models that are sent only one order at a time, to try."""
    return Breaker.objects.filter(failures__gte=TRIPS_AT)


def try_now(model: KieModel) -> bool:
    """Whatever became of the last try, the next order is sent. False: the model is not held."""
    return bool(tripped().filter(model=model).update(next_try_at=timezone.now()))


def closed_to() -> list[int]:
    """The ids of the models that are not to be sent an order now."""
    now = timezone.now()
    return [
        breaker.pk
        for breaker in tripped()
        if breaker.next_try_at and (breaker.next_try_at > now or _is_tried(breaker))
    ]


def _is_tried(breaker: Breaker) -> bool:
    """An order is out to try the model: sent, or in the hands of a worker who will. One that KIE
    has for long tells nothing any more: the next is sent."""
    out = Generation.objects.filter(
        state__in=(State.SUBMITTING, State.RUNNING, State.UNKNOWN),
        submitted_at__gte=breaker.next_try_at,
        submitted_at__gt=timezone.now() - TRY_LASTS,
    )
    claimed = Generation.objects.filter(state=State.QUEUED, lease_until__isnull=False)
    return (out | claimed).filter(model=breaker.pk).exists()
