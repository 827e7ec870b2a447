"""Where an order stands, in words for whoever ordered it, and what they can do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import TextChoices
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.models import LedgerEntry
from generation import breaker
from generation.models import (
    SENT_STATES,
    Generation,
    Pause,
    State,
)

LOOK_ANYWAY = 60  # seconds between two looks at an open order: the news of it may get lost
SLOW = timedelta(minutes=3)  # one that KIE has had for longer takes longer than usual
PROVIDERS_LINE = ("waiting", "queuing", "queueing")  # KIE's words for a task that has not begun


class Note(TextChoices):
    """What is to be said of an order beside its stage."""

    PAUSED = (
        "paused",
        gettext_lazy("Ordering is paused for the moment. The order waits and nothing is lost."),
    )
    TRIPPED = (
        "tripped",
        gettext_lazy(
            "The provider has trouble with this model. The order waits, and the model is tried "
            "every minute."
        ),
    )
    SET_ASIDE = (
        "set_aside",
        gettext_lazy(
            "Storing the picture is giving trouble; staff are looking at it. You have not been "
            "charged."
        ),
    )
    FREE = (
        "free",
        gettext_lazy("The credits are given back. KIE still has the order; what comes is free."),
    )
    DISCARDED = (
        "discarded",
        gettext_lazy(
            "The credits are given back. KIE still has the order; what comes is thrown away."
        ),
    )
    CAME = "came", gettext_lazy("The picture came after all. It is free.")
    FOUND = "found", gettext_lazy("We found your picture. It is free.")


@dataclass(frozen=True)
class Standing:
    """Of one order. `given_back`: what was held for it has been released. `charged`: hundredths
    that it has cost in the end; None while nothing is charged."""

    order: Generation
    held_up: Note | None
    given_back: bool
    charged: int | None = None

    @property
    def stage(self) -> str:
        order = self.order
        if order.state == State.RUNNING and order.task_state.lower() in ("", *PROVIDERS_LINE):
            return _("In the provider's line")
        return str(order.get_state_display())

    @property
    def note(self) -> Note | None:
        order = self.order
        if order.state == State.DONE:
            came = Note.CAME if order.taken_back else Note.FOUND
            return came if self.given_back else None
        if not order.is_open:
            return None
        if not order.is_awaited:
            return Note.DISCARDED
        if order.is_set_aside:
            return Note.SET_ASIDE
        return Note.FREE if self.given_back else self.held_up

    @property
    def can_cancel(self) -> bool:
        return self.order.state == State.QUEUED

    @property
    def can_take_back(self) -> bool:
        """KIE has it, or may have it, and its credits are still held."""
        order = self.order
        held = order.price and not order.taken_back and not self.given_back
        return bool(held and order.state in SENT_STATES)

    @property
    def seconds(self) -> int:
        """Since the order was placed."""
        return seconds_since(self.order.created_at)

    @property
    def is_slow(self) -> bool:
        """KIE takes longer than usual, and there is nothing else to say of it."""
        return self._is_overdue and self.note is None

    @property
    def version(self) -> str:
        """Changes when there is something else to show than the clock. What was given back comes
        to be known only together with another fact."""
        order = self.order
        marks = f"{self._is_overdue:d}{order.is_set_aside:d}"
        facts = (order.pk, order.state, order.task_state, order.taken_back, self.held_up or "")
        return ".".join((*facts, marks))

    @property
    def look_in(self) -> int | None:
        """Seconds until an open page looks at it again, whatever it has heard; None: never."""
        if not self.order.is_open:
            return None
        left = self._seconds_until_overdue
        return min(LOOK_ANYWAY, int(left) + 1) if left and left > 0 else LOOK_ANYWAY

    @property
    def _is_overdue(self) -> bool:
        left = self._seconds_until_overdue
        return left is not None and left < 0

    @property
    def _seconds_until_overdue(self) -> float | None:
        order = self.order
        if order.state not in SENT_STATES or order.submitted_at is None:
            return None
        return (order.submitted_at + SLOW - timezone.now()).total_seconds()


def standings_of(orders: Sequence[Generation]) -> dict[str, Standing]:
    """By the id of the order; at most three queries, however many they are."""
    held_up = _held_up(orders)
    entries = _resolutions(orders)
    return {order.pk: _standing(order, held_up.get(order.pk), entries) for order in orders}


def standing_of(order: Generation) -> Standing:
    return standings_of([order])[order.pk]


def seconds_since(moment: datetime, until: datetime | None = None) -> int:
    return max(0, int(((until or timezone.now()) - moment).total_seconds()))


def _held_up(orders: Sequence[Generation]) -> dict[str, Note]:
    """What keeps those in line that would be sent otherwise."""
    waiting = [order for order in orders if order.state == State.QUEUED]
    if not waiting:
        return {}
    paused = set(Pause.objects.values_list("provider", flat=True))
    tripped = set(breaker.tripped().values_list("pk", flat=True))
    notes = {order.pk: Note.TRIPPED for order in waiting if order.model_id in tripped}
    return notes | {order.pk: Note.PAUSED for order in waiting if order.provider in paused}


def _standing(order: Generation, held_up: Note | None, entries: dict[str, int]) -> Standing:
    change = entries.get(_reference(order, "capture"))
    return Standing(
        order,
        held_up,
        given_back=_reference(order, "release") in entries,
        charged=None if change is None else -change,
    )


def _resolutions(orders: Sequence[Generation]) -> dict[str, int]:
    """What became of the holds of those that went on or are done: how much each entry changed the
    balance, by its reference."""
    paid = [order for order in orders if order.price and order.state in (*SENT_STATES, State.DONE)]
    if not paid:
        return {}
    references = [_reference(order, kind) for order in paid for kind in ("release", "capture")]
    entries = LedgerEntry.objects.filter(reference__in=references)
    return dict(entries.values_list("reference", "balance_change"))


def _reference(order: Generation, kind: str) -> str:
    return f"generation:{order.pk}:{kind}"
