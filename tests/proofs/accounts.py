"""Compares what the processes of the storm wrote down with what is in the ledger."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
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


class Content(NamedTuple):
    """What somebody asked for and an entry says."""

    book: int
    kind: str
    balance_change: int
    held_change: int
    hold: str
    about: dict[str, Any]


class Row(NamedTuple):
    """An entry."""

    content: Content
    pk: int
    after: list[int]  # balance, held
    created_at: float  # seconds since 1970


class Asked(NamedTuple):
    """A wish of one process, and what became of it; None if it was killed before it knew."""

    wish: Wish
    at: float  # seconds since 1970
    again: bool  # because the answer was lost
    outcome: dict[str, Any] | None


class Account:
    """All that was asked and answered. `wrong` is what must not be."""

    def __init__(self, journals: Sequence[Path], crashes: int) -> None:
        self.journals = journals
        self.crashes = crashes  # of the database
        self.answered = self.repeated = self.found = 0
        self.refused: Counter[str] = Counter()
        self.written: dict[str, Wish] = {}  # what was answered first, by reference
        self.known_at: dict[str, float] = {}  # when that was known to somebody, by reference
        self.rows: dict[str, Row] = {}
        self.resolutions: defaultdict[str, set[str]] = defaultdict(set)  # by the hold
        self.wrong = list(self.read_ledger())
        for asked in self.everything_asked():
            self.count(asked)
        questions: Iterable[Iterable[str]] = (
            self.missing(),
            self.nobody_asked(),
            self.outcomes(),
            self.sums(),
            self.uncovered(),
            self.resolved_twice(),
            invariants.violations(),
            (f"never refused: {kind}" for kind in REFUSALS if not self.refused[kind]),
        )
        self.wrong += chain.from_iterable(questions)

    def read_ledger(self) -> Iterator[str]:
        for entry in LedgerEntry.objects.select_related("hold").order_by("pk").iterator():
            if entry.reference in self.rows:
                yield f"twice in the ledger: {entry.reference}"
            self.rows[entry.reference] = Row(
                Content(
                    entry.ledger_id,
                    entry.kind,
                    entry.balance_change,
                    entry.held_change,
                    entry.hold.reference if entry.hold else "",
                    {name: getattr(entry, name) for name in asdict(Wish("", "").about)},
                ),
                entry.pk,
                [entry.balance_after, entry.held_after],
                entry.created_at.timestamp(),
            )
            if entry.hold:
                self.resolutions[entry.hold.reference].add(entry.reference)

    def everything_asked(self) -> Iterator[Asked]:
        for path in self.journals:
            for line, outcome in journal.read(path):
                yield Asked(Wish(**line["ask"]), line["at"], line["again"], outcome)

    def count(self, asked: Asked) -> None:
        reference, outcome = asked.wish.reference, asked.outcome or {}
        if asked.again:
            row = self.rows.get(reference)
            self.repeated += 1
            self.found += row is not None and row.created_at < asked.at
        if "refused" in outcome:
            self.refused[outcome["refused"]] += 1
        if "answer" in outcome:
            self.answered += 1
            self.written.setdefault(reference, asked.wish)
            known_at = self.known_at.get(reference, outcome["at"])
            self.known_at[reference] = min(known_at, outcome["at"])

    def content(self, wish: Wish) -> Content:
        """What a wish writes: the rules of the ledger, in other words than its own."""
        hold = self.written.get(wish.hold)
        held = hold.amount if hold else 0
        book = hold.book if hold else wish.book
        balance_change, held_change = {
            "grant": (wish.amount, 0),
            "adjust": (wish.amount, 0),
            "hold": (0, wish.amount),
            "capture": (-wish.amount, -held),
            "release": (0, -held),
        }[wish.call]
        about = asdict(wish.about)
        return Content(book, wish.call, balance_change, held_change, wish.hold, about)

    def missing(self) -> Iterator[str]:
        for reference in self.written.keys() - self.rows.keys():
            yield f"answered and not in the ledger: {self.written[reference]}"

    def nobody_asked(self) -> Iterator[str]:
        """What was killed was asked again, so every entry was answered to somebody."""
        for reference in self.rows.keys() - self.written.keys():
            yield f"in the ledger and answered to nobody: {reference}: {self.rows[reference]}"

    def outcomes(self) -> Iterator[str]:
        stood: defaultdict[int, set[int]] = defaultdict(lambda: {0})  # available, at any time
        for row in self.rows.values():
            stood[row.content.book].add(row.after[0] - row.after[1])
        for asked in self.everything_asked():
            outcome = asked.outcome or {}
            if "broke" in outcome or ("lost" in outcome and not self.crashes):
                yield f"broke: {asked}"
            if "answer" in outcome and not self.rightly_answered(asked.wish, outcome["answer"]):
                yield f"wrongly answered: {asked}; it is {self.rows.get(asked.wish.reference)}"
            if "refused" in outcome and not self.rightly_refused(asked, outcome, stood):
                yield f"wrongly refused: {asked}; it is {self.rows.get(asked.wish.reference)}"

    def rightly_answered(self, wish: Wish, answer: dict[str, Any]) -> bool:
        """With the entry that is there, and that says what was asked for."""
        row = self.rows.get(wish.reference)
        return (
            row is not None
            and answer == {"pk": row.pk, "after": row.after}
            and row.content == self.content(wish)
        )

    def rightly_refused(
        self, asked: Asked, outcome: dict[str, Any], stood: dict[int, set[int]]
    ) -> bool:
        wish = asked.wish
        row = self.rows.get(wish.reference)
        same = row is not None and row.content == self.content(wish)
        known = self.known_at.get(wish.reference, asked.at) < asked.at
        match outcome["refused"]:
            case "ReferenceConflict":
                return row is not None and not same
            case "InsufficientCredits":
                needed, had = outcome["says"]
                return not known and had < needed == abs(wish.amount) and had in stood[wish.book]
            case "HoldResolved":
                return not known and bool(self.resolutions[wish.hold] - {wish.reference})
            case "DoesNotExist":
                hold = self.written.get(wish.hold)
                known = self.known_at.get(wish.hold, asked.at) < asked.at
                return not (known and hold and hold.call == "hold")
            case "ValueError":
                return not same
        return bool(outcome["refused"] == "TakenBack" and wish.taken_back)

    def sums(self) -> Iterator[str]:
        """What the ledgers must hold, from what was answered alone."""
        totals: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        for wish in self.written.values():
            content = self.content(wish)
            totals[content.book][0] += content.balance_change
            totals[content.book][1] += content.held_change
        for ledger in CreditLedger.objects.all():
            if [ledger.balance, ledger.held] != totals[ledger.pk]:
                yield f"{ledger}: {ledger.balance}, held {ledger.held}; asked: {totals[ledger.pk]}"

    def uncovered(self) -> Iterator[str]:
        for reference, row in self.rows.items():
            if not row.after[0] >= row.after[1] >= 0:
                yield f"more is held than there is: {reference}: {row}"

    def resolved_twice(self) -> Iterator[str]:
        for hold, references in self.resolutions.items():
            if len(references) > 1:
                yield f"a hold that was resolved twice: {hold} by {references}"
