"""The line in front of KIE: whose order is next.

Single clicks go before batches; then it is the turn of whoever has the fewest orders in flight;
then of the oldest order. Nobody has more than MOST_IN_FLIGHT sent at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min
from django.utils import timezone

from generation import breaker
from generation.models import (
    IN_FLIGHT_STATES,
    Generation,
    GenerationQuerySet,
    Pause,
    State,
)

MOST_IN_FLIGHT = 50  # orders of one user that KIE or a worker is busy with


@dataclass(frozen=True)
class Queue:
    """One user's single clicks, or batch, in the line."""

    user: int
    batch: bool
    oldest: datetime
    length: int


def next_in_line() -> Generation | None:
    """The order to send now, not claimed yet; None while nothing may be sent."""
    waiting = _sendable()
    queues = list(_queues(waiting))
    if not queues:
        return None
    in_flight = _in_flight()
    queues = [queue for queue in queues if in_flight[queue.user] < MOST_IN_FLIGHT]
    if not queues:
        return None
    turn = min(queues, key=lambda queue: (queue.batch, in_flight[queue.user], queue.oldest))
    own = waiting.filter(ordered_by=turn.user, batch=turn.batch)
    return own.only("pk").order_by("created_at", "pk").first()


def places(user: int) -> dict[str, int]:
    """The place in line of each of a user's waiting orders, 1 for the next, as things stand.

    An order waits for those of its own queue before it, and for as many of everybody else's as
    get their turn until then.
    """
    in_flight = _in_flight()
    queues = list(_queues(Generation.objects.filter(state=State.QUEUED)))
    found = {}
    for own in (queue for queue in queues if queue.user == user):
        for before, order_id in enumerate(_ids_of(own)):
            turn = in_flight[user] + before + (_singles(queues, user) if own.batch else 0)
            others = sum(_before(queue, own, turn - in_flight[queue.user]) for queue in queues)
            found[order_id] = others + before + 1
    return found


def _before(other: Queue, own: Queue, turns: int) -> int:
    """How many of another queue go before an order of `own` whose user has `turns` more in flight
    by then than the other one has now."""
    if other == own or other.batch > own.batch:
        return 0
    if other.batch < own.batch:
        return other.length
    return min(other.length, max(0, turns + (other.oldest < own.oldest)))


def _singles(queues: list[Queue], user: int) -> int:
    return sum(queue.length for queue in queues if queue.user == user and not queue.batch)


def _sendable() -> GenerationQuerySet:
    waiting = Generation.objects.filter(state=State.QUEUED).due(timezone.now())
    return waiting.exclude(provider__in=Pause.objects.values("provider")).exclude(
        model__in=breaker.closed_to()
    )


def _queues(waiting: GenerationQuerySet) -> Iterator[Queue]:
    heads = waiting.order_by().values_list("ordered_by", "batch")
    for user, batch, oldest, length in heads.annotate(Min("created_at"), Count("pk")):
        yield Queue(user, batch, oldest, length)


def _ids_of(queue: Queue) -> list[str]:
    own = Generation.objects.filter(state=State.QUEUED, ordered_by=queue.user, batch=queue.batch)
    return list(own.order_by("created_at", "pk").values_list("pk", flat=True))


def _in_flight() -> Counter[int]:
    """How many orders of each user are in flight; one that is being claimed for it counts."""
    rows = Generation.objects.filter(state__in=IN_FLIGHT_STATES).order_by()
    return Counter(dict(rows.values_list("ordered_by").annotate(Count("pk"))))
