"""What became of one order, for the people of its project: its trail, its money, and what KIE took.

KIE's own words are for staff; here every line has words of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.models import LedgerEntry
from credits.templatetags.money import in_credits
from generation import reconcile
from generation.models import Difference, Event, Generation, Slot, State
from projects.models import Take

Kind = LedgerEntry.Kind

# What lifecycle.py notes without a new state, or of one that can be reached in two ways.
SAID = {
    "Credits taken back": gettext_lazy("The credits were taken back; KIE goes on with it"),
    "KIE reports after all": gettext_lazy("KIE reports after all"),
    "Asked after once more": gettext_lazy("Staff have asked KIE once more"),
    "Fetched once more": gettext_lazy("Staff have it fetched once more"),
    "The picture came and": gettext_lazy("The picture came and was thrown away"),
}


@dataclass(frozen=True)
class Line:
    """One step of the trail. `state` is an order's state, or "money"."""

    at: datetime
    state: str
    words: str
    is_now: bool = False


@dataclass(frozen=True)
class AtKie:
    """What KIE took for an order, against what was booked; hundredths of a KIE credit.

    `verdict`: "agrees", "differs", "settled" (it differs, and staff know why), "silent" (KIE has
    not said), "open" (nobody can say yet), "never" (KIE never had it), "unknown" (nobody knows
    whether it had).
    """

    booked: int
    used: int | None
    verdict: str


@dataclass(frozen=True)
class WentAlong:
    """A picture that went along as "image `number`": of "Miro", or "Take 3"."""

    take: Take
    name: str
    number: int


def at_kie(order: Generation) -> AtKie:
    verdict = _verdict(order)
    booked = 0 if verdict in ("never", "unknown") else reconcile.booked_for(order)
    return AtKie(booked, order.kie_credits_used, verdict)


def _verdict(order: Generation) -> str:
    if order.is_open:
        return "open"
    if order.task_id is None:
        return "unknown" if order.submitted_at else "never"
    if order.kie_credits_used is None:
        return "silent"
    if order.kie_credits_used == reconcile.booked_for(order):
        return "agrees"
    found = Difference.objects.filter(generation=order).first()
    return "settled" if found and found.settled_at else "differs"


def trail_of(order: Generation, entries: Sequence[LedgerEntry] = ()) -> list[Line]:
    """Its events with what they moved on the ledger, in the order in which they happened."""
    lines: list[Line] = []
    events = list(order.events.all())
    for event in events:
        again = any(line.state == event.state for line in lines)
        is_now = order.is_open and event is events[-1]
        lines.append(Line(event.at, event.state, _words(event, order, again), is_now))
    # The hold is written before the event of the same moment, and is its consequence.
    first = lines[0].at if lines else order.created_at
    lines += [Line(max(first, entry.created_at), "money", _moved(entry)) for entry in entries]
    return sorted(lines, key=lambda line: line.at)


def went_along(order: Generation, numbers: Mapping[str, int]) -> list[WentAlong]:
    """The pictures besides the one that was worked on, and the mask. `numbers` are those of the
    takes of the order's scene or character."""
    sent = order.references.exclude(slot=Slot.MASK).select_related("take__character", "take__scene")
    return [
        WentAlong(reference.take, _name_of(reference.take, numbers), reference.position + 1)
        for reference in sent
        if reference.take_id != order.source_id
    ]


def mask_of(order: Generation) -> Take | None:
    reference = order.references.filter(slot=Slot.MASK).select_related("take").first()
    return reference.take if reference else None


def _name_of(take: Take, numbers: Mapping[str, int]) -> str:
    if take.pk in numbers:
        return _("Take %(number)s") % {"number": numbers[take.pk]}
    return str(take.character or take.scene or "–")


def entries_of(order: Generation) -> QuerySet[LedgerEntry]:
    """The hold and what became of it, oldest first."""
    return LedgerEntry.objects.filter(reference__startswith=f"generation:{order.pk}:").order_by(
        "pk"
    )


def outcome_of(order: Generation, entries: list[LedgerEntry]) -> str:
    """What the receipt says of the money: "charged", "held", "given_back" (and still under way),
    "free" or "not_charged"."""
    kinds = {entry.kind for entry in entries}
    if Kind.CAPTURE in kinds:
        return "charged"
    if order.is_open and Kind.HOLD in kinds:
        return "given_back" if Kind.RELEASE in kinds else "held"
    return "free" if order.is_open or order.state == State.DONE else "not_charged"


def _moved(entry: LedgerEntry) -> str:
    if entry.kind == Kind.HOLD:
        return _("%(amount)s held") % {"amount": in_credits(entry.held_change)}
    if entry.kind == Kind.CAPTURE:
        return _("%(amount)s charged") % {"amount": in_credits(-entry.balance_change)}
    return _("%(amount)s given back") % {"amount": in_credits(-entry.held_change)}


def _words(event: Event, order: Generation, again: bool) -> str:
    state = event.state
    for start, words in SAID.items():
        if event.message.startswith(start):
            return str(words)
    if state == State.QUEUED:
        return _("Not taken for now; back in line") if again else _("Ordered")
    if state == State.SUBMITTING:
        return _("Sent to KIE")
    if state == State.UNKNOWN:
        return _("KIE's answer was lost; waiting for its word")
    if state == State.RUNNING:
        return _("KIE is at work on it") if again else _("KIE has taken it")
    if state == State.STORING:
        return _("The picture could not be fetched; again later") if again else _("KIE has made it")
    if state == State.DONE:
        return _("The picture is stored")
    return str(order.get_reason_display() or event.get_state_display())
