"""The books: every amount, every repetition, every race."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from credits import invariants, ledger
from credits.amounts import credits_text, dollars_text, hundredths
from credits.models import CreditLedger, LedgerEntry
from tests.threads import at_once

ABOUT = ledger.About(
    type="image",
    description="KIE AI Seedream 3.0 (2K) generation (2K)",
    project="p1",
    provider="kie",
    metadata={"model": "seedream-3.0/2k", "kieCredits": 6},
    real_cost=30_000,
)


@pytest.fixture
def book(alice: User) -> CreditLedger:
    book = ledger.ledger_of(alice)
    ledger.grant(book, 1000, reference="g", about=ledger.About())
    return book


def stands(book: CreditLedger) -> tuple[int, int]:
    book.refresh_from_db()
    assert invariants.violations() == []
    return book.balance, book.held


@pytest.mark.django_db
class TestOneAfterTheOther:
    def test_hold_then_capture(self, book: CreditLedger) -> None:
        ledger.hold(book, [(600, "h", ABOUT)])
        assert stands(book) == (1000, 600)
        assert ledger.hold_is_open("h")
        entry = ledger.capture("h", 600, reference="c", about=ABOUT)
        assert stands(book) == (400, 0)
        assert not ledger.hold_is_open("h")
        assert (entry.type, entry.description, entry.project, entry.provider) == (
            "image",
            "KIE AI Seedream 3.0 (2K) generation (2K)",
            "p1",
            "kie",
        )
        assert entry.metadata == {"model": "seedream-3.0/2k", "kieCredits": 6}
        assert (entry.real_cost, entry.balance_change) == (30_000, -600)
        assert (entry.balance_after, entry.held_after) == (400, 0)

    def test_hold_then_release(self, book: CreditLedger) -> None:
        ledger.hold(book, [(600, "h", ABOUT)])
        ledger.release("h", reference="r", about=ABOUT)
        assert stands(book) == (1000, 0)

    def test_part_of_a_hold(self, book: CreditLedger) -> None:
        ledger.hold(book, [(600, "h", ABOUT)])
        with pytest.raises(ValueError, match="more than the hold"):
            ledger.capture("h", 601, reference="c", about=ABOUT)
        ledger.capture("h", 250, reference="c", about=ABOUT)
        assert stands(book) == (750, 0)

    @pytest.mark.parametrize("amount", [1001, 10**15])
    def test_more_than_there_is(self, book: CreditLedger, amount: int) -> None:
        with pytest.raises(ledger.InsufficientCredits) as caught:
            ledger.hold(book, [(amount, "h", ABOUT)])
        assert (caught.value.needed, caught.value.available) == (amount, 1000)
        assert stands(book) == (1000, 0)

    def test_the_last_hundredth(self, book: CreditLedger) -> None:
        ledger.hold(book, [(999, "h1", ABOUT)])
        ledger.hold(book, [(1, "h2", ABOUT)])
        with pytest.raises(ledger.InsufficientCredits):
            ledger.hold(book, [(1, "h3", ABOUT)])
        assert stands(book) == (1000, 1000)

    @pytest.mark.parametrize("amount", [0, -1, -(10**12)])
    def test_amounts_that_are_none(self, book: CreditLedger, amount: int) -> None:
        ledger.hold(book, [(600, "h", ABOUT)])
        wrongs: list[Callable[[], object]] = [
            lambda: ledger.grant(book, amount, reference="x", about=ABOUT),
            lambda: ledger.hold(book, [(amount, "x", ABOUT)]),
            lambda: ledger.capture("h", amount, reference="x", about=ABOUT),
        ]
        for wrong in wrongs:
            with pytest.raises(ValueError, match="amount"):
                wrong()
        assert stands(book) == (1000, 600)

    def test_adjusting(self, book: CreditLedger) -> None:
        ledger.hold(book, [(600, "h", ABOUT)])
        why = ledger.About(type="adjust", description="Counted wrong")
        ledger.adjust(book, -400, reference="a1", about=why)
        assert stands(book) == (600, 600)
        with pytest.raises(ledger.InsufficientCredits):
            ledger.adjust(book, -1, reference="a2", about=why)
        with pytest.raises(ValueError, match="reason"):
            ledger.adjust(book, 5, reference="a3", about=ledger.About())
        with pytest.raises(ValueError, match="amount"):
            ledger.adjust(book, 0, reference="a3", about=why)
        assert stands(book) == (600, 600)

    def test_asking_twice_answers_once(self, book: CreditLedger) -> None:
        steps: list[Callable[[], LedgerEntry]] = [
            lambda: ledger.grant(book, 100, reference="g2", about=ABOUT),
            lambda: ledger.hold(book, [(600, "h", ABOUT)])[0],
            lambda: ledger.hold(book, [(500, "h2", ABOUT)])[0],
            lambda: ledger.capture("h", 600, reference="c", about=ABOUT),
            lambda: ledger.release("h2", reference="r", about=ABOUT),
            lambda: ledger.adjust(book, -10, reference="a", about=ABOUT),
        ]
        first = [step().pk for step in steps]
        again = [step().pk for step in steps]
        assert first == again
        assert stands(book) == (490, 0)

    def test_a_repeated_hold_answers_even_when_nothing_is_left(self, book: CreditLedger) -> None:
        first = ledger.hold(book, [(1000, "h", ABOUT)])
        assert ledger.hold(book, [(1000, "h", ABOUT)]) == first

    def test_one_reference_for_two_things(self, book: CreditLedger, bob: User) -> None:
        ledger.hold(book, [(600, "h", ABOUT)])
        ledger.grant(ledger.ledger_of(bob), 1000, reference="g2", about=ABOUT)
        others: list[Callable[[], object]] = [
            lambda: ledger.hold(book, [(599, "h", ABOUT)]),
            lambda: ledger.hold(ledger.ledger_of(bob), [(600, "h", ABOUT)]),
            lambda: ledger.hold(book, [(600, "h", ledger.About())]),
            lambda: ledger.hold(book, [(5000, "h", ABOUT)]),
            lambda: ledger.grant(book, 600, reference="h", about=ABOUT),
            lambda: ledger.release("h", reference="h", about=ABOUT),
        ]
        for other in others:
            with pytest.raises(ledger.ReferenceConflict):
                other()
        assert stands(book) == (1000, 600)

    @pytest.mark.parametrize(
        "other",
        [
            {"type": "upload"},
            {"description": "x"},
            {"project": "p2"},
            {"provider": "gemini"},
            {"metadata": {"model": "seedream-3.0/2k"}},
            {"real_cost": 30_001},
        ],
    )
    def test_one_reference_for_one_purpose(self, book: CreditLedger, other: dict[str, Any]) -> None:
        ledger.hold(book, [(600, "h", ABOUT)])
        with pytest.raises(ledger.ReferenceConflict):
            ledger.hold(book, [(600, "h", replace(ABOUT, **other))])

    def test_a_hold_is_resolved_once(self, book: CreditLedger) -> None:
        ledger.hold(book, [(600, "h", ABOUT)])
        ledger.capture("h", 600, reference="c", about=ABOUT)
        with pytest.raises(ledger.HoldResolved):
            ledger.release("h", reference="r", about=ABOUT)
        with pytest.raises(ledger.HoldResolved):
            ledger.capture("h", 600, reference="c2", about=ABOUT)
        assert stands(book) == (400, 0)

    def test_only_a_hold_is_resolved(self, book: CreditLedger) -> None:
        for reference in ("g", "nothing"):
            with pytest.raises(LedgerEntry.DoesNotExist):
                ledger.capture(reference, 10, reference="c", about=ABOUT)
            assert not ledger.hold_is_open(reference)

    def test_what_is_missing_comes_while_it_is_looked_for(self, book: CreditLedger) -> None:
        """Nobody is told that 1500 are needed and 1500 are there."""
        late = iter(["late"])

        def grant_after_the_first_update(execute: Any, sql: str, *rest: Any) -> Any:
            result = execute(sql, *rest)
            if sql.startswith("UPDATE") and (reference := next(late, None)):
                ledger.grant(book, 500, reference=reference, about=ABOUT)
            return result

        with connection.execute_wrapper(grant_after_the_first_update):
            [entry] = ledger.hold(book, [(1500, "h", ABOUT)])
        assert (entry.balance_after, entry.held_after) == (1500, 1500)
        assert stands(book) == (1500, 1500)

    def test_the_callers_transaction_takes_it_back(self, book: CreditLedger) -> None:
        with pytest.raises(RuntimeError), transaction.atomic():
            ledger.hold(book, [(600, "h", ABOUT)])
            raise RuntimeError
        assert stands(book) == (1000, 0)


@pytest.mark.django_db
class TestWhatTheDatabaseRefuses:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE credits_ledgerentry SET description = 'x'",
            "UPDATE credits_ledgerentry SET balance_change = 1",
            "DELETE FROM credits_ledgerentry",
        ],
    )
    def test_entries_are_append_only(self, book: CreditLedger, statement: str) -> None:
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
        assert LedgerEntry.objects.count() == 1

    def test_truncate(self, book: CreditLedger) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has no TRUNCATE")
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE credits_ledgerentry")

    @pytest.mark.parametrize(
        "changes",
        [
            {"held": -1},
            {"balance": -1},
            {"held": 1001},
        ],
    )
    def test_a_ledger_out_of_balance(self, book: CreditLedger, changes: dict[str, int]) -> None:
        with pytest.raises(DatabaseError), transaction.atomic():
            CreditLedger.objects.update(**changes)

    @pytest.mark.parametrize(
        ("kind", "balance_change", "held_change"),
        [("grant", -1, 0), ("hold", 0, -1), ("hold", 1, 1), ("capture", -5, -5), ("gift", 1, 0)],
    )
    def test_an_entry_that_is_none(
        self, book: CreditLedger, kind: str, balance_change: int, held_change: int
    ) -> None:
        with pytest.raises(DatabaseError), transaction.atomic():
            LedgerEntry.objects.create(
                ledger=book,
                kind=kind,
                balance_change=balance_change,
                held_change=held_change,
                balance_after=0,
                held_after=0,
                reference="x",
            )


@pytest.mark.django_db
class TestInvariantsCanFail:
    """Each question finds the fault that it is there for."""

    def test_a_balance_that_was_written_by_hand(self, book: CreditLedger) -> None:
        CreditLedger.objects.update(balance=999)
        found = " ".join(invariants.violations())
        assert "balance_is_the_sum" in found
        assert "last_entry_is_the_ledger" in found

    def test_held_that_was_written_by_hand(self, book: CreditLedger) -> None:
        CreditLedger.objects.update(held=5)
        assert "held_is_the_open_holds" in " ".join(invariants.violations())

    @pytest.mark.parametrize(
        ("entry", "question"),
        [
            (
                {"kind": "grant", "balance_change": 5, "held_change": 0, "balance_after": 7},
                "entries_follow_each_other",
            ),
            (
                {"kind": "release", "balance_change": 0, "held_change": -1, "balance_after": 1000},
                "resolutions_fit_their_hold",
            ),
        ],
    )
    def test_an_entry_that_was_written_by_hand(
        self, book: CreditLedger, entry: dict[str, Any], question: str
    ) -> None:
        [hold] = ledger.hold(book, [(600, "h", ABOUT)])
        LedgerEntry.objects.create(
            ledger=book,
            reference="x",
            held_after=0,
            hold=hold if entry["kind"] == "release" else None,
            **entry,
        )
        assert question in " ".join(invariants.violations())


@pytest.mark.django_db(transaction=True)
class TestRaces:
    """Threads with connections of their own; PostgreSQL lets them run at the same time."""

    def at_once(self, *calls: Callable[[], Any]) -> list[Any]:
        barrier = threading.Barrier(len(calls))
        results: list[Any] = [None] * len(calls)

        def run(index: int, call: Callable[[], Any]) -> None:
            barrier.wait()
            try:
                results[index] = call()
            except ledger.LedgerError as error:
                results[index] = type(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def test_ten_want_what_is_enough_for_three(self, book: CreditLedger) -> None:
        def want(n: int) -> Callable[[], Any]:
            return lambda: ledger.hold(book, [(300, f"h{n}", ABOUT)])[0]

        results = self.at_once(*[want(n) for n in range(10)])
        assert sum(isinstance(r, LedgerEntry) for r in results) == 3
        assert results.count(ledger.InsufficientCredits) == 7
        assert stands(book) == (1000, 900)

    def test_the_same_wish_eight_times(self, book: CreditLedger) -> None:
        results = self.at_once(*[lambda: ledger.hold(book, [(900, "h", ABOUT)])[0].pk] * 8)
        assert len(set(results)) == 1
        assert stands(book) == (1000, 900)

    def test_capture_against_release(self, book: CreditLedger) -> None:
        for round_ in range(5):
            reference = f"h{round_}"
            ledger.hold(book, [(100, reference, ABOUT)])
            results = self.at_once(
                partial(ledger.capture, reference, 100, reference=f"{reference}c", about=ABOUT),
                partial(ledger.release, reference, reference=f"{reference}r", about=ABOUT),
            )
            assert results.count(ledger.HoldResolved) == 1
            stands(book)


@dataclass(frozen=True)
class Call:
    """One call of the ledger; the amount of a release says nothing."""

    kind: str
    book: int
    amount: int
    reference: str
    hold: str = ""
    description: str = "one"

    def make(self, books: list[CreditLedger]) -> LedgerEntry:
        about = ledger.About(description=self.description)
        if self.kind == "capture":
            return ledger.capture(self.hold, self.amount, reference=self.reference, about=about)
        if self.kind == "release":
            return ledger.release(self.hold, reference=self.reference, about=about)
        if self.kind == "hold":
            return ledger.hold(books[self.book], [(self.amount, self.reference, about)])[0]
        move = getattr(ledger, self.kind)
        return cast(
            LedgerEntry,
            move(books[self.book], self.amount, reference=self.reference, about=about),
        )


class Paper:
    """The rules of the ledger, kept on paper: dicts, and one thing after the other."""

    def __init__(self) -> None:
        self.balance = [0, 0]
        self.held = [0, 0]
        self.written: dict[str, tuple[Call, tuple[int, int]]] = {}
        self.resolved: set[str] = set()  # holds

    def answer(self, call: Call) -> tuple[int, int] | type[Exception]:
        """What is there after it, or why it is refused. Notes it, too."""
        if call.kind in ("grant", "hold", "capture") and call.amount <= 0:
            return ValueError
        if call.kind == "adjust" and not call.amount:
            return ValueError
        if call.kind in ("capture", "release"):
            if call.hold not in self.holds():
                return LedgerEntry.DoesNotExist
            hold = self.written[call.hold][0]
            if call.kind == "release":
                call = replace(call, amount=0)
            elif call.amount > hold.amount:
                return ValueError
            call = replace(call, book=hold.book)
            change, held_change = -call.amount, -hold.amount
        else:
            change, held_change = (0, call.amount) if call.kind == "hold" else (call.amount, 0)
        if call.reference in self.written:
            before, after = self.written[call.reference]
            return after if before == call else ledger.ReferenceConflict
        if call.hold in self.resolved:
            return ledger.HoldResolved
        if held_change - change > self.balance[call.book] - self.held[call.book]:
            return ledger.InsufficientCredits
        self.balance[call.book] += change
        self.held[call.book] += held_change
        if call.hold:
            self.resolved.add(call.hold)
        self.written[call.reference] = call, (self.balance[call.book], self.held[call.book])
        return self.written[call.reference][1]

    def holds(self) -> list[str]:
        return [reference for reference, (call, _) in self.written.items() if call.kind == "hold"]


# Few, so that they meet: a reference that was used for something else, also as another's hold.
REFERENCES = st.sampled_from([f"r{n}" for n in range(50)])
BOOKS = st.sampled_from([0, 0, 0, 1])
SOMETHING = st.integers(0, 500)


class AnySequence(RuleBasedStateMachine):
    """The ledger beside the paper, call by call, with two books."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        users = [User.objects.create_user(name) for name in ("one", "two")]
        self.books = [ledger.ledger_of(user) for user in users]
        self.paper = Paper()
        self.calls: list[Call] = []

    def teardown(self) -> None:
        try:
            self.all_of_it()
        finally:
            transaction.set_rollback(True)
            self.undo.__exit__(None, None, None)

    @initialize(amount=st.integers(500, 2000))
    def welcome(self, amount: int) -> None:
        self.ask(Call("grant", 0, amount, "welcome"))

    @rule(book=BOOKS, amount=SOMETHING, reference=REFERENCES)
    def grant(self, book: int, amount: int, reference: str) -> None:
        self.ask(Call("grant", book, amount, reference))

    @rule(book=BOOKS, amount=SOMETHING, reference=REFERENCES)
    def hold(self, book: int, amount: int, reference: str) -> None:
        self.ask(Call("hold", book, amount, reference))

    @rule(book=BOOKS, amount=st.integers(-500, 300), reference=REFERENCES)
    def adjust(self, book: int, amount: int, reference: str) -> None:
        self.ask(Call("adjust", book, amount, reference))

    @precondition(lambda self: self.paper.holds())
    @rule(data=st.data(), kind=st.sampled_from(["capture", "release"]), reference=REFERENCES)
    def resolve(self, data: st.DataObject, kind: str, reference: str) -> None:
        hold = data.draw(st.sampled_from([*self.paper.holds(), "welcome", "nothing"]))
        most = self.paper.written[hold][0].amount if hold in self.paper.written else 1
        amount = data.draw(st.integers(1, most) | st.sampled_from([most, most + 1]))
        self.ask(Call(kind, 0, amount, reference, hold))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """Answered then, it is answered again; refused then, it may be possible now."""
        self.ask(data.draw(st.sampled_from(self.calls)))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), more=st.sampled_from([0, 1]))
    def other_content(self, data: st.DataObject, more: int) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.ask(replace(call, amount=call.amount + more or 1, description="other"))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), reference=REFERENCES)
    def taken_back(self, data: st.DataObject, reference: str) -> None:
        """The caller's transaction fails afterwards: nothing has happened."""
        call = replace(data.draw(st.sampled_from(self.calls)), reference=reference)
        before = copy.deepcopy(self.paper)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            self.ask(call)
            raise ZeroDivisionError
        self.paper = before

    def ask(self, call: Call) -> None:
        self.calls.append(call)
        expected = self.paper.answer(call)
        if isinstance(expected, type):
            with pytest.raises(expected):
                call.make(self.books)
        else:
            entry = call.make(self.books)
            assert (entry.balance_after, entry.held_after) == expected

    @invariant()
    def stands(self) -> None:
        books = CreditLedger.objects.order_by("pk").values_list("balance", "held")
        assert list(books) == list(zip(self.paper.balance, self.paper.held, strict=True))

    def all_of_it(self) -> None:
        assert invariants.violations() == []
        entries = {entry.reference: entry for entry in LedgerEntry.objects.all()}
        assert entries.keys() == self.paper.written.keys()
        for reference, (call, after) in self.paper.written.items():
            entry = entries[reference]
            assert (entry.kind, entry.description) == (call.kind, call.description)
            assert (entry.balance_after, entry.held_after) == after
            assert (entry.hold.reference if entry.hold else "") == call.hold
        for hold in self.paper.holds():
            assert ledger.hold_is_open(hold) == (hold not in self.paper.resolved)


@pytest.mark.django_db
class TestSeveralHolds:
    HOLDS = [(300, "h1", ABOUT), (200, "h2", ABOUT), (100, "h3", ABOUT)]

    def test_all_of_them(self, book: CreditLedger) -> None:
        ledger.hold(book, [(50, "before", ABOUT)])
        ledger.hold(book, self.HOLDS)
        assert stands(book) == (1000, 650)
        entries = LedgerEntry.objects.filter(reference__startswith="h").order_by("pk")
        told = entries.values_list("reference", "held_change", "balance_after", "held_after")
        assert list(told) == [
            ("h1", 300, 1000, 350),
            ("h2", 200, 1000, 550),
            ("h3", 100, 1000, 650),
        ]
        ledger.capture("h2", 200, reference="c2", about=ABOUT)
        ledger.release("h1", reference="r1", about=ABOUT)
        assert stands(book) == (800, 150)

    def test_or_none(self, book: CreditLedger) -> None:
        with pytest.raises(ledger.InsufficientCredits) as refused:
            ledger.hold(book, [*self.HOLDS, (401, "h4", ABOUT)])
        assert (refused.value.needed, refused.value.available) == (1001, 1000)
        assert stands(book) == (1000, 0)
        assert not ledger.hold_is_open("h1")

    def test_none_where_one_is_known(self, book: CreditLedger) -> None:
        ledger.hold(book, [(200, "h2", ABOUT)])
        with pytest.raises(ledger.ReferenceConflict):
            ledger.hold(book, self.HOLDS)
        with pytest.raises(ledger.ReferenceConflict):
            ledger.hold(book, [(1, "twice", ABOUT), (1, "twice", ABOUT)])
        assert stands(book) == (1000, 200)

    def test_all_of_them_again_are_the_same(self, book: CreditLedger) -> None:
        first = ledger.hold(book, self.HOLDS)
        assert ledger.hold(book, self.HOLDS) == first
        ledger.hold(book, [(400, "rest", ABOUT)])
        assert ledger.hold(book, self.HOLDS) == first, "although nothing is left"
        assert stands(book) == (1000, 1000)

    def test_an_amount_is_more_than_nothing(self, book: CreditLedger) -> None:
        with pytest.raises(ValueError, match="more than 0"):
            ledger.hold(book, [(100, "h1", ABOUT), (0, "h2", ABOUT)])
        assert stands(book) == (1000, 0)


@pytest.mark.django_db(transaction=True)
def test_several_holds_at_once_take_no_credit_twice(book: CreditLedger) -> None:
    def hold(number: int) -> str:
        holds = [(200, f"h{number}-{n}", ABOUT) for n in range(2)]
        ledger.hold(CreditLedger.objects.get(pk=book.pk), holds)
        return "held"

    results = at_once([partial(hold, number) for number in range(4)])
    assert results.count("held") == 2
    assert sum(isinstance(result, ledger.InsufficientCredits) for result in results) == 2
    assert stands(book) == (1000, 800)


@pytest.mark.django_db
def test_any_sequence_keeps_the_books() -> None:
    """Against a plain model of the rules, with repetitions and roll-backs mixed in."""
    run_state_machine_as_test(
        AnySequence, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )


@pytest.mark.parametrize(
    ("amount", "text"),
    [(600, "6"), (650, "6.5"), (324, "3.24"), (0, "0"), (-5, "-0.05"), (100_000, "1000")],
)
def test_credits_in_words(amount: int, text: str) -> None:
    assert credits_text(amount) == text
    assert hundredths(text) == amount


@pytest.mark.parametrize("text", ["", "x", "1.005", "NaN", "1e400", "∞", "1 000"])
def test_what_is_no_number_of_credits(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        hundredths(text)


def test_dollars_in_words() -> None:
    assert [dollars_text(m) for m in (30_000, 16_200, 0, 1_000_000)] == [
        "0.03",
        "0.0162",
        "0.00",
        "1.00",
    ]
