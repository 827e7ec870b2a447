"""What the processes of the storm ask of the ledger.

A wish with a number is the same in every process, so that any of them can ask for what another one
asks for, at the same time, without a word between them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from ctypes import Array, c_longlong
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

from django.db import InterfaceError, OperationalError, connection, transaction

from credits import ledger
from credits.ledger import About, InsufficientCredits, LedgerError
from credits.models import CreditLedger, LedgerEntry
from tests.proofs.journal import Journal

Numbers = Array[c_longlong]

# How far back, on average, a wish lies that a process takes over from another one: it shall still
# be under way there.
RECENT = 3
ENOUGH = 300  # new wishes, about a third of all
RECONNECT = 0.05  # seconds


@dataclass(frozen=True)
class Wish:
    """One call of credits/ledger.py, with all that it says."""

    call: str
    reference: str
    book: int = 0  # primary key of the ledger; captures and releases take their hold's
    amount: int = 0
    hold: str = ""  # the reference of what a capture or release resolves
    description: str = "a picture"
    taken_back: bool = False  # the caller's transaction fails afterwards

    @property
    def about(self) -> About:
        if not self.description:
            return About()
        return About(
            type="image",
            description=self.description,
            project="p1",
            provider="kie",
            metadata={"model": "seedream-3.0/2k", "kieCredits": 3.5},
            real_cost=17_500,
        )


class TakenBack(Exception):
    """The caller's transaction failed after the ledger had answered."""


def ask(wish: Wish) -> LedgerEntry:
    if not wish.taken_back:
        return _call(wish)
    with transaction.atomic():
        _call(wish)
        raise TakenBack


def _call(wish: Wish) -> LedgerEntry:
    name = {"reference": wish.reference}
    match wish.call:
        case "capture":
            return ledger.capture(wish.hold, wish.amount, about=wish.about, **name)
        case "release":
            return ledger.release(wish.hold, about=wish.about, **name)
    book = CreditLedger(pk=wish.book)
    if wish.call == "hold":
        [hold] = ledger.hold(book, [(wish.amount, wish.reference, wish.about)])
        return hold
    move = {"grant": ledger.grant, "adjust": ledger.adjust}[wish.call]
    return move(book, wish.amount, about=wish.about, **name)


@dataclass(frozen=True)
class Numbered:
    """The wishes that have a number. `books`: the ledgers; every second wish is for the first."""

    seed: int
    books: Sequence[int]

    def opening(self, slot: int, number: int) -> Wish:
        """A grant, an adjustment or a hold: what the process `slot` asks for as its `number`th."""
        reference = f"{slot}:{number}"
        dice = Random(f"{self.seed}:{reference}")
        [call] = dice.choices(["hold", "grant", "adjust"], [70, 18, 12])
        book = self.books[0] if dice.random() < 0.5 else dice.choice(self.books)
        amounts = {
            "hold": dice.randint(1, 600),
            "grant": dice.randint(1, 900),
            "adjust": dice.choice([-250, -30, 40, 200]),
        }
        if dice.random() < 0.02:
            amounts |= {"hold": 10**12, "adjust": -(10**12)}
        return Wish(call, f"{reference}:{call}", book, amounts[call])

    def capture(self, hold: Wish) -> Wish:
        """All of it mostly, sometimes less."""
        amount = Random(f"{self.seed}:{hold.reference}").choice(
            [hold.amount, hold.amount, hold.amount // 2 or 1]
        )
        return Wish("capture", f"{hold.reference}:charge", amount=amount, hold=hold.reference)

    def release(self, hold: Wish) -> Wish:
        return Wish("release", f"{hold.reference}:back", hold=hold.reference)


class Mind:
    """What one process wants next.

    `numbers` is memory that all processes share: the number that each of them has reached. One
    that takes the place of a killed one goes on after its number.
    """

    def __init__(self, slot: int, numbered: Numbered, numbers: Numbers, dice: Random) -> None:
        self.slot = slot
        self.numbered = numbered
        self.numbers = numbers
        self.dice = dice
        self.open: deque[Wish] = deque(maxlen=50)
        self.answered: deque[Wish] = deque(maxlen=20)

    def next(self) -> Wish:
        ways = [self.new, self.settle, self.again, self.other, self.nonsense, self.taken_back]
        [way] = self.dice.choices(ways, [42, 34, 10, 7, 4, 3])
        return way()

    def remember(self, wish: Wish) -> None:
        self.answered.append(wish)
        if wish.call == "hold":
            self.open.append(wish)

    def new(self) -> Wish:
        self.numbers[self.slot] += 1
        return self.numbered.opening(self.slot, self.numbers[self.slot])

    def settle(self) -> Wish:
        """Charges or gives back a hold of its own; or anybody's, to meet others who do."""
        hold = self.recent()
        if self.open and (hold.call != "hold" or self.dice.random() < 0.7):
            hold = self.open.popleft()
        if hold.call != "hold":
            return self.new()
        resolve = self.dice.choice((self.numbered.capture, self.numbered.release))
        return resolve(hold)

    def again(self) -> Wish:
        """What was asked for already, here or elsewhere."""
        if self.answered and self.dice.random() < 0.5:
            return self.dice.choice(self.answered)
        return self.recent()

    def recent(self) -> Wish:
        slot = self.dice.randrange(len(self.numbers))
        back = int(self.dice.expovariate(1 / RECENT))
        return self.numbered.opening(slot, self.numbers[slot] - back)

    def other(self) -> Wish:
        """Other content, by one thing, under a reference that has been used."""
        wish = self.dice.choice(self.answered) if self.answered else self.recent()
        return self.dice.choice(
            [
                replace(wish, amount=wish.amount + 1 or 1),
                replace(wish, description="another picture"),
                replace(wish, book=self.dice.choice(self.numbered.books)),
                replace(wish, call="grant", book=self.numbered.books[0], hold=""),
            ]
        )

    def nonsense(self) -> Wish:
        """What is never right, under references of its own."""
        wish = replace(self.new(), amount=self.dice.choice([0, -5]))
        reference = f"{wish.reference}:nonsense"
        hold = self.dice.choice(self.open) if self.open else self.recent()
        return self.dice.choice(
            [
                replace(wish, reference=reference, call="hold"),
                replace(wish, reference=reference, call="grant"),
                replace(wish, reference=reference, call="adjust", description=""),
                Wish("capture", reference, amount=hold.amount + 1, hold=hold.reference),
                Wish("release", reference, hold="nothing"),
            ]
        )

    def taken_back(self) -> Wish:
        return replace(self.again() if self.dice.random() < 0.3 else self.new(), taken_back=True)


def is_over(until: float, numbers: Numbers) -> bool:
    """Is time up (on the monotonic clock), and has enough been asked, also by a slow machine?"""
    return time.monotonic() > until and sum(numbers) >= ENOUGH


def live(
    slot: int, numbered: Numbered, numbers: Numbers, folder: Path, until: float, seed: float
) -> None:
    """One process, until it is killed or the storm is over.

    It takes the place of the last one with this `slot`: what that one had asked without writing
    down an answer, it asks again.
    """
    journal = Journal(folder / f"{slot}.journal")
    mind = Mind(slot, numbered, numbers, Random(seed))
    if last := journal.unanswered():
        insist(journal, Wish(**last["ask"]), again=True)
    while not is_over(until, numbers):
        wish = mind.next()
        if insist(journal, wish):
            mind.remember(wish)


def insist(journal: Journal, wish: Wish, *, again: bool = False) -> bool:
    """Asks until the database is there to say something. Was it answered?"""
    while True:
        try:
            return attempt(journal, wish, again=again)
        except (OperationalError, InterfaceError) as error:
            journal.write(lost=repr(error))
        connection.close()
        time.sleep(RECONNECT)
        again = True


def attempt(journal: Journal, wish: Wish, *, again: bool) -> bool:
    """Asks, and writes down both that and the outcome. Was it answered?"""
    journal.write(ask=asdict(wish), again=again)
    try:
        entry = ask(wish)
    except InsufficientCredits as refusal:
        journal.write(refused="InsufficientCredits", says=[refusal.needed, refusal.available])
    except (LedgerError, LedgerEntry.DoesNotExist, TakenBack, ValueError) as refusal:
        journal.write(refused=type(refusal).__name__)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        journal.write(broke=repr(error))
    else:
        journal.write(answer={"pk": entry.pk, "after": [entry.balance_after, entry.held_after]})
        return True
    return False
