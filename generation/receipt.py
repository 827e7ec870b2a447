"""What became of one order, for the people of its project: its trail and its money.

KIE's own words are for staff; here every line has words of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from credits.models import LedgerEntry
from generation.models import Event, Generation, State

Kind = LedgerEntry.Kind


@dataclass(frozen=True)
class Line:
    """One step of the trail."""

    at: datetime
    state: str
    words: str


def trail_of(order: Generation) -> list[Line]:
    lines: list[Line] = []
    for event in order.events.all():
        again = any(line.state == event.state for line in lines)
        lines.append(Line(event.at, event.state, _words(event, order, again)))
    return lines


def entries_of(order: Generation) -> QuerySet[LedgerEntry]:
    """The hold and what became of it, oldest first."""
    return LedgerEntry.objects.filter(reference__startswith=f"generation:{order.pk}:").order_by(
        "pk"
    )


def outcome_of(order: Generation, entries: list[LedgerEntry]) -> str:
    """What the receipt says of the money: "charged", "held", "free" or "not_charged"."""
    kinds = {entry.kind for entry in entries}
    if Kind.CAPTURE in kinds:
        return "charged"
    if order.is_open:
        return "held" if Kind.HOLD in kinds and Kind.RELEASE not in kinds else "free"
    return "free" if order.state == State.DONE else "not_charged"


def _words(event: Event, order: Generation, again: bool) -> str:
    state = event.state
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
