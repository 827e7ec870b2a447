"""How each model has done on this site: how long it takes, how often it fails, what is kept of it.

From the orders of the last 90 days, for all models at once in three queries. On a large site these
take seconds: so a worker asks them, when a page has found that nothing is known, or that it is some
minutes old. A page never waits for them: until they are known it says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db.models import (
    Case,
    Count,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    When,
    Window,
)
from django.db.models.functions import Coalesce, Least, RowNumber
from django.utils import timezone

from generation import doorbell
from generation.models import Generation, Output, Reason, State
from projects.models import Character, Scene

BACK = timedelta(days=90)
LAST = 200  # orders of a model that say how long it takes
ENOUGH = 5  # fewer say nothing
# What is no fault of whoever ordered. CLOSED is what staff could not get either.
AT_FAULT = (
    Reason.RENDER,
    Reason.EMPTY,
    Reason.PICTURE,
    Reason.LOST,
    Reason.EXPIRED,
    Reason.CLOSED,
    Reason.MODEL,
    Reason.INPUT,
)

KNOWN, FRESH = "records", "records:fresh"  # keys of the cache
KNOWN_SECONDS, FRESH_SECONDS = 7 * 86_400, 300


@dataclass(frozen=True)
class Record:
    """Of one model. What is worked out is None where too little is known.

    `usual` and `slow` are the seconds from being sent to being stored of half, and of 95 %, of the
    orders. `takes` of a scene or a character came of orders that charged for `paid_for` pictures,
    and `kept` of them are shown there.
    """

    usual: int | None = None
    slow: int | None = None
    ended: int = 0
    failed: int = 0
    takes: int = 0
    kept: int = 0
    paid_for: int = 0

    @property
    def failure_percent(self) -> int | None:
        return round(100 * self.failed / self.ended) if self.ended >= ENOUGH else None

    @property
    def kept_percent(self) -> int | None:
        return round(100 * self.kept / self.takes) if self.takes >= ENOUGH else None

    def per_kept(self, price: int) -> int | None:
        """What a kept picture costs when one costs `price`; hundredths, rounded as one says it."""
        if self.kept_percent is None or not self.kept:
            return None
        exactly = price * self.paid_for / self.kept
        step = 100 if exactly >= 1000 else 10
        return step * round(exactly / step)


NOTHING = Record()


def all_records() -> dict[int, Record]:
    """By the model's pk; a model that was not ordered is not in it, and as long as nothing is known
    none is."""
    found = cache.get_many([KNOWN, FRESH])
    if FRESH not in found and cache.add(FRESH, 1, FRESH_SECONDS):
        doorbell.ring("measure")
    known: dict[int, Record] = found.get(KNOWN, {})
    return known


def find_out() -> None:
    """What is known from now on. For a worker: it may take seconds."""
    cache.set(KNOWN, records_since(timezone.now() - BACK), KNOWN_SECONDS)
    cache.set(FRESH, 1, FRESH_SECONDS)


def records_since(since: datetime) -> dict[int, Record]:
    times, kept = _times(since), _kept(since)
    records = {}
    for model, ended, failed, paid_for in _ends(since):
        usual, slow = _usual_and_slow(sorted(times.get(model, ())))
        record = Record(usual, slow, ended=ended, failed=failed, paid_for=paid_for or 0)
        takes, shown = kept.get(model, (0, 0))
        records[model] = replace(record, takes=takes, kept=shown)
    return records


def _times(since: datetime) -> dict[int, list[float]]:
    """Seconds from being sent to being stored."""
    row = Window(RowNumber(), partition_by="model", order_by=F("created_at").desc())
    stored = Generation.objects.filter(state=State.DONE, created_at__gte=since)
    last = stored.annotate(row=row).filter(row__lte=LAST)
    times: dict[int, list[float]] = {}
    for model, sent, ended in last.values_list("model_id", "submitted_at", "finished_at"):
        if sent and ended:
            times.setdefault(model, []).append((ended - sent).total_seconds())
    return times


def _usual_and_slow(times: Sequence[float]) -> tuple[int | None, int | None]:
    """Of sorted times: the middle one, and the one that 95 % are not above."""
    if len(times) < ENOUGH:
        return None, None
    usual, slow = (times[math.ceil(share * len(times)) - 1] for share in (0.5, 0.95))
    return max(1, round(usual)), max(1, round(slow))


def _ends(since: datetime) -> list[tuple[int, int, int, int | None]]:
    """(model, orders that count, those of them that failed, pictures paid for on the board).

    An order is charged for as many of its pictures as came (`lifecycle.charge_for`).
    """
    done = Q(state=State.DONE)
    failed = Q(state__in=(State.FAILED, State.REVIEW), reason__in=AT_FAULT)
    on_the_board = done & (Q(scene__isnull=False) | Q(character__isnull=False))
    recent = Generation.objects.filter(created_at__gte=since).order_by()
    came = Output.objects.filter(generation=OuterRef("pk"), take__isnull=False).order_by()
    how_many = Subquery(came.values("generation").annotate(n=Count("pk")).values("n"))
    # Most orders are for one picture; only for the others their pictures are counted.
    charged = Case(
        When(count=1, then=1),
        default=Least("count", Coalesce(how_many, 0)),
        output_field=IntegerField(),
    )
    counted = recent.annotate(charged=charged).values("model_id")
    counted = counted.annotate(
        ended=Count("pk", filter=done | failed),
        failed=Count("pk", filter=failed),
        paid_for=Sum("charged", filter=on_the_board),
    )
    return list(counted.values_list("model_id", "ended", "failed", "paid_for"))


def _kept(since: datetime) -> dict[int, tuple[int, int]]:
    """For each model, how many takes it brought, and how many of them are shown."""
    scenes: QuerySet[Any] = Scene.objects.with_picture()
    people: QuerySet[Any] = Character.objects.with_picture()
    shown = Q(take__in=scenes.values("picture_id")) | Q(take__in=people.values("picture_id"))
    on_the_board = Q(take__scene__isnull=False) | Q(take__character__isnull=False)
    brought = Output.objects.filter(on_the_board, generation__created_at__gte=since).order_by()
    counted = brought.values("generation__model_id").annotate(
        takes=Count("pk"), kept=Count("pk", filter=shown)
    )
    rows = counted.values_list("generation__model_id", "takes", "kept")
    return {int(model): (takes, kept) for model, takes, kept in rows}
