"""Compares what the processes of the storm wrote down with what is in the ledger."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from credits import invariants
from credits.models import CreditLedger, LedgerEntry
from tests.proofs import journal
from tests.proofs.wishes import Wish

# What the ledger must have refused at least once, or the storm was none.
REFUSALS = (
    "InsufficientCredits",
    "ReferenceConflict",
    "HoldResolved",
    "DoesNotExist",
    "ValueError",
    "TakenBack",
)


class Row(NamedTuple):
    """An entry, as far as somebody asked for it."""

    pk: int
    book: int
    kind: str
    balance_change: int
    held_change: int
    balance_after: int
    held_after: int
    hold: str | None
    about: dict[str, Any]
    written_at: float  # seconds since 1970


@dataclass
class Account:
    """All that was asked and answered, and what is wrong about it."""

    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    repeated: int = 0  # asked again after a kill
    found: int = 0  # of these: the killed process had written it
    wrong: list[str] = field(default_factory=list)
    written: dict[str, Wish] = field(default_factory=dict)  # by reference
    unanswered: set[str] = field(default_factory=set)
    refusals: list[tuple[Wish, dict[str, Any]]] = field(default_factory=list)
    answers: list[tuple[Wish, dict[str, Any]]] = field(default_factory=list)


def settle(journals: Iterable[Path]) -> Account:
    account = Account()
    rows, doubles = ledger_rows()
    account.wrong += [f"twice in the ledger: {reference}" for reference in doubles]
    for path in journals:
        for line, outcome in journal.read(path):
            note(account, line, outcome, rows)
    account.wrong += missing_or_extra(account, rows)
    account.wrong += contents(account, rows)
    account.wrong += refusals(account, rows)
    account.wrong += sums(account)
    account.wrong += invariants.violations()
    account.wrong += [f"never refused: {kind}" for kind in REFUSALS if not account.refused[kind]]
    return account


def ledger_rows() -> tuple[dict[str, Row], list[str]]:
    """Every entry by its reference, and the references that more than one has."""
    rows: dict[str, Row] = {}
    doubles = []
    for entry in LedgerEntry.objects.select_related("hold").order_by("pk").iterator():
        if entry.reference in rows:
            doubles.append(entry.reference)
        rows[entry.reference] = Row(
            entry.pk,
            entry.ledger_id,
            entry.kind,
            entry.balance_change,
            entry.held_change,
            entry.balance_after,
            entry.held_after,
            entry.hold.reference if entry.hold else None,
            {name: getattr(entry, name) for name in asdict(Wish("", "").about)},
            entry.created_at.timestamp(),
        )
    return rows, doubles


def note(
    account: Account, line: dict[str, Any], outcome: dict[str, Any] | None, rows: dict[str, Row]
) -> None:
    wish = Wish(**line["ask"])
    if line["again"]:
        account.repeated += 1
        row = rows.get(wish.reference)
        account.found += bool(row and row.written_at < line["at"])
    if outcome is None:
        account.unanswered.add(wish.reference)
    elif "answer" in outcome:
        account.answered += 1
        account.answers.append((wish, outcome["answer"]))
        account.written.setdefault(wish.reference, wish)
    elif "refused" in outcome:
        account.refused[outcome["refused"]] += 1
        account.refusals.append((wish, outcome))
    else:
        account.wrong.append(f"broke: {wish}: {outcome['broke']}")


def missing_or_extra(account: Account, rows: dict[str, Row]) -> Iterator[str]:
    for reference in account.written.keys() - rows.keys():
        yield f"answered and not in the ledger: {account.written[reference]}"
    # What was killed last and repeated by nobody may be there or not.
    for reference in rows.keys() - account.written.keys() - account.unanswered:
        yield f"in the ledger and answered to nobody: {rows[reference]}"


def contents(account: Account, rows: dict[str, Row]) -> Iterator[str]:
    """Each answer is the entry that is there, and says what was asked for."""
    for wish, answer in account.answers:
        row = rows.get(wish.reference)
        if row is None:
            continue  # said already
        if answer != {"pk": row.pk, "after": [row.balance_after, row.held_after]}:
            yield f"answered with {answer} and it is {row}: {wish}"
        if not says(row, wish, account):
            yield f"another content than was asked for: {row}: {wish}"


def expected(wish: Wish, account: Account) -> tuple[tuple[int, str, int, int], str, dict[str, Any]]:
    """What a wish writes: the rules of the ledger in other words than its own."""
    hold = account.written.get(wish.hold)
    held = hold.amount if hold else 0
    book = hold.book if hold else wish.book
    balance_change, held_change = {
        "grant": (wish.amount, 0),
        "adjust": (wish.amount, 0),
        "hold": (0, wish.amount),
        "capture": (-wish.amount, -held),
        "release": (0, -held),
    }[wish.call]
    return (book, wish.call, balance_change, held_change), wish.hold, asdict(wish.about)


def says(row: Row, wish: Wish, account: Account) -> bool:
    return (row[1:5], row.hold or "", row.about) == expected(wish, account)


def refusals(account: Account, rows: dict[str, Row]) -> Iterator[str]:
    """Each refusal was right."""
    resolved = {row.hold: reference for reference, row in rows.items() if row.hold}
    available: defaultdict[int, set[int]] = defaultdict(lambda: {0})
    for row in rows.values():
        available[row.book].add(row.balance_after - row.held_after)
    for wish, outcome in account.refusals:
        entry = rows.get(wish.reference)
        right = True
        match outcome["refused"]:
            case "ReferenceConflict":
                right = entry is not None and not says(entry, wish, account)
            case "HoldResolved":
                right = resolved.get(wish.hold, wish.reference) != wish.reference
            case "InsufficientCredits":
                needed, had = outcome["says"]
                right = had < needed == abs(wish.amount) and had in available[wish.book]
            case "DoesNotExist":
                right = wish.call in ("capture", "release")
        if not right:
            yield f"wrongly refused: {outcome}: {wish}"


def sums(account: Account) -> Iterator[str]:
    """What the ledgers must hold, from what was answered alone."""
    totals: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for wish in account.written.values():
        (book, _, balance_change, held_change), _, _ = expected(wish, account)
        totals[book][0] += balance_change
        totals[book][1] += held_change
    for ledger in CreditLedger.objects.all():
        if [ledger.balance, ledger.held] != totals[ledger.pk]:
            yield f"{ledger}: {ledger.balance}, held {ledger.held}; asked for {totals[ledger.pk]}"
