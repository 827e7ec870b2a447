"""The only code that writes credits.

Amounts are integers, hundredths of a credit; real cost is in micro-dollars. Every function is one
transaction (or a savepoint of the caller's) and is asked with a `reference`, unique for ever: the
same reference with the same content answers with the entry that was written the first time; with
other content it raises ReferenceConflict.

A balance is moved by one guarded UPDATE that says what it changed, so it is right on PostgreSQL and
on SQLite without row locks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction

from credits.models import CreditLedger, LedgerEntry

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Kind = LedgerEntry.Kind

# One statement, which also says what it made: reading that by a second one cost a quarter of all.
MOVE = f"""UPDATE {CreditLedger._meta.db_table} SET balance = balance + %s, held = held + %s
WHERE id = %s AND balance - held >= %s RETURNING id, balance, held"""  # noqa: S608


class LedgerError(Exception):
    """Nothing was written."""


class InsufficientCredits(LedgerError):
    """The ledger has less available than was asked for. Both in hundredths of a credit."""

    def __init__(self, needed: int, available: int) -> None:
        super().__init__(f"{needed} needed, {available} available")
        self.needed = needed
        self.available = available


class ReferenceConflict(LedgerError):
    """This reference was used for something else."""


class HoldResolved(LedgerError):
    """The hold has been captured or released already, by another reference."""


@dataclass(frozen=True)
class About:
    """What an entry is for, in the words of the statement."""

    type: str = ""
    description: str = ""
    project: str = ""
    provider: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    real_cost: int = 0


def ledger_of(user: User) -> CreditLedger:
    """The user's ledger, opened empty at the first asking."""
    return CreditLedger.objects.get_or_create(owner=user)[0]


def grant(ledger: CreditLedger, amount: int, *, reference: str, about: About) -> LedgerEntry:
    """Adds credits that were bought or given. `amount` > 0."""
    _positive(amount)
    return _write(_entry(ledger.pk, Kind.GRANT, amount, 0, reference, about))


def adjust(ledger: CreditLedger, amount: int, *, reference: str, about: About) -> LedgerEntry:
    """Staff correct a balance, up or down, with a reason (`about.description`).

    Raises InsufficientCredits when it would take what is not there or is held.
    """
    if not amount or not about.description:
        raise ValueError("an adjustment needs an amount and a reason")
    return _write(_entry(ledger.pk, Kind.ADJUST, amount, 0, reference, about))


def hold(ledger: CreditLedger, holds: Sequence[tuple[int, str, About]]) -> list[LedgerEntry]:
    """Sets credits aside for orders, (amount > 0, reference, about) each: for all, or for none.

    Raises InsufficientCredits about all of them together, ReferenceConflict where only some of the
    references are known.
    """
    for amount, _reference, _about in holds:
        _positive(amount)
    total = sum(amount for amount, _reference, _about in holds)
    whole = _entry(ledger.pk, Kind.HOLD, 0, total, "", About())
    entries = [_entry(ledger.pk, Kind.HOLD, 0, *hold) for hold in holds]
    try:
        with transaction.atomic():
            _move(whole)
            held = whole.held_after - total
            for entry in entries:
                held += entry.held_change
                entry.balance_after, entry.held_after = whole.balance_after, held
            return LedgerEntry.objects.bulk_create(entries)
    except (IntegrityError, InsufficientCredits) as error:
        conflict = ReferenceConflict(", ".join(entry.reference for entry in entries[:3]))
        unknown = error if isinstance(error, InsufficientCredits) else conflict
        return [_written_before(entry, unknown) for entry in entries]


def capture(hold_reference: str, amount: int, *, reference: str, about: About) -> LedgerEntry:
    """Charges `amount` of a hold, at most all of it, and gives the rest back.

    Raises HoldResolved if another reference captured or released it.
    """
    _positive(amount)
    held = _hold(hold_reference)
    if amount > held.held_change:
        raise ValueError(f"{amount} is more than the hold of {held.held_change}")
    change = -held.held_change
    return _write(_entry(held.ledger_id, Kind.CAPTURE, -amount, change, reference, about, held))


def release(hold_reference: str, *, reference: str, about: About) -> LedgerEntry:
    """Gives a hold back. Raises HoldResolved if another reference captured or released it."""
    held = _hold(hold_reference)
    change = -held.held_change
    return _write(_entry(held.ledger_id, Kind.RELEASE, 0, change, reference, about, held))


def hold_is_open(hold_reference: str) -> bool:
    """Is there such a hold, neither captured nor released?"""
    return LedgerEntry.objects.filter(
        reference=hold_reference, kind=Kind.HOLD, resolution__isnull=True
    ).exists()


def _hold(reference: str) -> LedgerEntry:
    """As much of it as its resolution needs. Raises LedgerEntry.DoesNotExist."""
    holds = LedgerEntry.objects.filter(kind=Kind.HOLD).only("reference", "ledger", "held_change")
    return holds.get(reference=reference)


def _write(entry: LedgerEntry) -> LedgerEntry:
    try:
        with transaction.atomic():
            _move(entry)
            entry.save(force_insert=True)
    except (IntegrityError, InsufficientCredits) as error:
        # The same wish, written by somebody else or by ourselves before we died, answers again.
        return _written_before(entry, error)
    return entry


def _entry(
    ledger_id: int,
    kind: str,
    balance_change: int,
    held_change: int,
    reference: str,
    about: About,
    hold: LedgerEntry | None = None,
) -> LedgerEntry:
    return LedgerEntry(
        ledger_id=ledger_id,
        kind=kind,
        balance_change=balance_change,
        held_change=held_change,
        reference=reference,
        hold=hold,
        **asdict(about),
    )


def _move(entry: LedgerEntry) -> None:
    """Moves the balance if it suffices, and notes in the entry what it is afterwards."""
    needed = max(0, entry.held_change - entry.balance_change)
    changes = (entry.balance_change, entry.held_change)
    moved = CreditLedger.objects.raw(MOVE, (*changes, entry.ledger_id, needed))
    if moved:
        entry.balance_after, entry.held_after = moved[0].balance, moved[0].held
        return
    available = CreditLedger.objects.get(pk=entry.ledger_id).available
    if needed > available:
        raise InsufficientCredits(needed, available)
    _move(entry)  # What was missing came between the two questions.


def _written_before(entry: LedgerEntry, error: Exception) -> LedgerEntry:
    before = LedgerEntry.objects.filter(reference=entry.reference).first()
    if before is None:
        if entry.hold and LedgerEntry.objects.filter(hold=entry.hold).exists():
            raise HoldResolved(entry.hold.reference) from error
        raise error
    if _content(before) != _content(entry):
        raise ReferenceConflict(entry.reference) from error
    return before


def _content(entry: LedgerEntry) -> tuple[Any, ...]:
    return (
        entry.ledger_id,
        entry.kind,
        entry.balance_change,
        entry.held_change,
        entry.hold_id,
        entry.type,
        entry.description,
        entry.project,
        entry.provider,
        entry.metadata,
        entry.real_cost,
    )


def _positive(amount: int) -> None:
    if amount <= 0:
        raise ValueError(f"an amount must be more than 0, not {amount}")
