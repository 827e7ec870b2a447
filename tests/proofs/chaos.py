"""python -m tests.proofs.chaos: the whole site under every fault at once, and what is left of it.

Customers order pictures while KIE refuses, loses answers, fails renders, spoils downloads, doubles
and forgets callbacks, while the storage fails, workers are killed, the queue is emptied and the
database stops in the middle. Then everything that can end is waited for; the half hour that an
order without any word from KIE has to wait is put behind it by moving the times of the open orders
back. The verdict is tests/proofs/verdict.py.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.proofs import mishaps, verdict
from tests.proofs.customers import Customer, Customers
from tests.proofs.stand import WORKERS, Options, Stand

STORAGE_FAULTS = 0.09
SLOW_SECONDS = 12  # longer than a worker waits for an answer
MODELS = ("seedream-3.0/2k", "z-image", "google/imagen4-fast")
NUMBERS = {"ORDER_WORKERS": "2", "PICTURE_WORKERS": "6"}
LARGEST_EDGE = 256  # of the pictures; drawing and decoding real ones is not what is proved
CREATES = 300  # in 10 s, so that KIE's own limit is not what is measured
LEAST_RATE, MOST_RATE = 5.0, 10.0  # orders that come in, a second
ARRIVAL_SECONDS = 30  # in which all of them come in, as far as the rates allow
LEAST_GENERATIONS = 30  # so that every fault has its turn
LEAST_SPEED = 3.0  # generations a second, from the first click to the last end
JUDGED_FROM = 300  # generations; of fewer, those that wait for a dead worker's lease are too many
MOST_OPEN = 200  # orders; customers wait while so many are under way
WORD = "31 minutes"  # a little more than lifecycle.WORD_AFTER
ROUNDS = 6  # of moving the times back, at most
LOOK_EVERY = 0.25  # seconds
CPU_EVERY = 2.0
PATIENCE = 120.0  # seconds without any order coming to its end


@dataclass
class Happened:
    """What was done to the site, and when (seconds from the first order)."""

    killed: Counter[str] = field(default_factory=Counter)
    flushed_at: float = 0.0
    crashed_at: float = 0.0
    back_at: float = 0.0
    seconds: float = 0.0  # until the last order ended that did not have to wait for a word
    waited: int = 0  # those that had to
    cpu: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """Orders that are open, those of them that move by themselves, callbacks not looked into."""

    open: int
    moving: int
    unheard: int

    @property
    def is_restless(self) -> bool:
        return bool(self.moving or self.unheard)


class Chaos:
    def __init__(self, stand: Stand, options: argparse.Namespace) -> None:
        self.happened = Happened()
        self.rng = random.Random(options.seed)
        self.open = 0  # orders, as of the last look
        self._stand = stand
        self._options = options
        self._rate = min(MOST_RATE, max(LEAST_RATE, options.generations / ARRIVAL_SECONDS))
        self._began = 0.0
        self._kill = threading.Event()
        self._database: psycopg.Connection[Any] | None = None
        self.prices = dict(self._ask(PRICES))
        self.customers = Customers(
            stand.site_url,
            self._customers(),
            MODELS,
            options.generations,
            self._may_order,
            random.Random(options.seed),
        )

    def _may_order(self) -> bool:
        so_far = time.monotonic() - self._began
        return self.open < MOST_OPEN and self.customers.begun < so_far * self._rate

    def _customers(self) -> list[Customer]:
        """Four with enough credits, one with enough for a few orders, one with none."""
        enough = max(self.prices.values()) / 100 * self._options.generations * 2
        few = max(self.prices.values()) / 100 * max(3, self._options.generations // 50)
        wealth = {"anna": enough, "boris": enough, "cyril": enough, "dana": enough}
        return [
            Customer(name, self._stand.token(name, credits), weight)
            for name, credits, weight in (
                *((name, credits, 22) for name, credits in wealth.items()),
                ("emil", few, 9),
                ("filip", 0.0, 3),
            )
        ]

    def happen(self) -> None:
        """Everything at once, until nothing is left that would move by itself."""
        before = self._stand.cpu()
        self._began = time.monotonic()
        self._kill.set()
        killer = threading.Thread(target=self._kill_workers, daemon=True)
        killer.start()
        self.customers.start()
        self._until_all_have_ended()
        self._kill.clear()
        killer.join()
        now = self._stand.cpu()
        self.happened.cpu = {name: now[name] - before.get(name, 0) for name in now}
        self.happened.seconds, self.happened.waited = self._first_phase()
        self._let_time_pass()

    def _kill_workers(self) -> None:
        while self._kill.is_set():
            if worker := self._stand.kill_a_worker(self.rng):
                self.happened.killed[worker.name] += 1
            time.sleep(self._options.seconds_between_kills)

    def _until_all_have_ended(self) -> None:
        wanted = self._options.generations
        moved_at, last, looked_at = time.monotonic(), (-1, -1), 0.0
        while not (self.customers.are_done and self._is_quiet()):
            now = time.monotonic() - self._began
            if self.customers.placed > wanted / 3 and not self.happened.flushed_at:
                self._stand.flush_redis()
                self._stand.sandbox("faults", {"next": mishaps.OF_ONE_QUESTION})
                self.happened.flushed_at = now
            if self.customers.placed > wanted * 0.6 and not self.happened.crashed_at:
                self._stand.crash_postgres()
                self.happened.crashed_at = now
                time.sleep(2)
                self._stand.start_postgres()
                self.happened.back_at = time.monotonic() - self._began
            self.open = self._look().open
            if (self.customers.placed, self.open) != last:
                moved_at, last = time.monotonic(), (self.customers.placed, self.open)
            if time.monotonic() - moved_at > PATIENCE:
                say(f"Nothing has moved for {PATIENCE:g} s.")
                return
            if now > looked_at + CPU_EVERY:
                self._stand.cpu()
                looked_at = now
            say(f"\r{now:6.0f} s  {self.customers.placed} placed, {self.open} open", end=" ")
            time.sleep(LOOK_EVERY)

    def _is_quiet(self) -> bool:
        """Only those are open who wait for time to pass, and KIE has nothing more to tell."""
        if self._look().is_restless:
            return False
        return not self._stand.sandbox("")["unreported"] and not self._look().is_restless

    @property
    def rate(self) -> float:
        """Generations a second."""
        return self.customers.placed / (self.happened.seconds or 1)

    @property
    def ended(self) -> Counter[str]:
        """How many orders are in which state, and why."""
        return Counter({f"{state} {why}".strip(): n for state, why, n in self._ask(ENDED)})

    @property
    def deaths(self) -> int:
        return int(self._ask(DEATHS)[0][0])

    def _first_phase(self) -> tuple[float, int]:
        ((seconds, waited),) = self._ask(FIRST_PHASE)
        return float(seconds), int(waited)

    def _let_time_pass(self) -> None:
        """Moves the open orders back in time until none is left."""
        for _ in range(ROUNDS):
            if not self._look().open:
                return
            with self._stand.database() as database:
                database.execute(LATER, {"open": OPEN, "by": WORD})
            until = time.monotonic() + 30
            while time.monotonic() < until and self._look().is_restless:
                time.sleep(LOOK_EVERY)

    def _look(self) -> Look:
        return Look(*self._ask(LOOK)[0])

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        """Asks the database until it answers: it may be starting just now."""
        while True:
            try:
                if self._database is None:
                    self._database = self._stand.database()
                return self._database.execute(query, {"open": OPEN}).fetchall()
            except psycopg.OperationalError:
                self._database = None
                time.sleep(LOOK_EVERY)


OPEN = ["queued", "submitting", "unknown", "running", "storing"]
# An open order moves unless its next step is minutes away: KIE's word may never come, or its
# picture is set aside.
LOOK = """
SELECT count(*),
       count(*) FILTER (WHERE next_at < now() + interval '60 s' OR lease_until IS NOT NULL),
       (SELECT count(*) FROM generation_callback WHERE heard_at IS NULL)
FROM generation_generation WHERE state = ANY(%(open)s)
"""
PRICES = """
SELECT DISTINCT ON (m.model_id) m.model_id, p.credits
FROM generation_price p JOIN generation_kiemodel m ON m.id = p.model_id
ORDER BY m.model_id, p.since DESC, p.id DESC
"""
FIRST_PHASE = """
SELECT COALESCE(extract(epoch FROM max(finished_at) - min(created_at)), 0),
       count(*) FILTER (WHERE state = ANY(%(open)s))
FROM generation_generation
"""
ENDED = "SELECT state, reason, count(*) FROM generation_generation GROUP BY 1, 2"
DEATHS = "SELECT count(*) FROM generation_event WHERE message ILIKE '%%died%%'"
LATER = """
UPDATE generation_generation
SET created_at = created_at - %(by)s::interval, submitted_at = submitted_at - %(by)s::interval,
    next_at = next_at - %(by)s::interval, lease_until = lease_until - %(by)s::interval
WHERE state = ANY(%(open)s)
"""


def main() -> int:
    options = arguments()
    stand_options = Options(
        seed=options.seed,
        creates=CREATES,
        seconds=1.0,
        storage_faults=STORAGE_FAULTS,
        environment=NUMBERS,
        sandbox=(
            f"--largest-edge {LARGEST_EDGE}",
            *(f"--fault {name}={probability}" for name, probability in mishaps.ASKING.items()),
        ),
    )
    began = time.monotonic()
    with Stand(stand_options) as stand:
        stand.sandbox("settings", {"slow_seconds": SLOW_SECONDS})
        deck = mishaps.of_creates(options.generations, random.Random(options.seed))
        stand.sandbox("faults", {"next": deck})
        chaos = Chaos(stand, options)
        chaos.happen()
        wrong = list(verdict.violations(stand, chaos.customers.wishes, chaos.prices))
        for line in report(stand, chaos, options.seed):
            print(line)
        wrong += too_tame(stand, chaos)
    if chaos.rate < LEAST_SPEED and options.generations >= JUDGED_FROM and not options.busy:
        wrong.append(f"only {chaos.rate:.2f} generations a second")
    print(f"  in all     {time.monotonic() - began:.0f} s, with the stand's start and the verdict")
    for line in wrong[:40]:
        print(f"WRONG {line}")
    print(f"{len(wrong)} violations" if wrong else "No violation.")
    return 1 if wrong else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.chaos", description=__doc__)
    add = parser.add_argument
    add("--generations", type=int, default=300, metavar="N")
    add("--seed", type=int, default=1, help="of what is drawn; the machine's timing has none")
    add("--seconds-between-kills", type=float, default=0.5, metavar="S")
    add("--busy", action="store_true", help="others use this machine: the rate is only printed")
    options = parser.parse_args()
    if options.generations < LEAST_GENERATIONS:
        parser.error(f"at least {LEAST_GENERATIONS} generations, or there are faults without any")
    return options


def too_tame(stand: Stand, chaos: Chaos) -> Iterator[str]:
    """A run in which something did not go wrong proves nothing about it."""
    happened, faults = chaos.happened, verdict.faults_in(verdict.read_journal(stand.journal))
    told = {status for status, count in faults["callbacks"].items() if count}
    what = {
        "workers of each kind were killed": set(happened.killed) == set(WORKERS),
        "Redis was emptied": happened.flushed_at,
        "PostgreSQL was stopped": happened.crashed_at,
        "KIE refused": faults["createTask"].keys() - {"accepted", *mishaps.LOST},
        "KIE's answers were lost": faults["createTask"].keys() & mishaps.LOST.keys(),
        "renders failed": faults["tasks"].keys() & mishaps.RENDERS.keys(),
        "downloads failed": faults["tasks"].keys() & mishaps.DOWNLOADS.keys(),
        "callbacks were lost": faults["tasks"]["callback_lost"],
        "callbacks came through": "answered 200" in told,
        "the storage failed": len(stand.storage_faults()) > 1,
        "somebody had no credits": any(w.placed is False for w in chaos.customers.wishes),
    }
    return (f"too tame: not true that {name}" for name, true in what.items() if not true)


def report(stand: Stand, chaos: Chaos, seed: int) -> Iterator[str]:
    """What happened, on one screen."""
    happened, customers = chaos.happened, chaos.customers
    journal = verdict.read_journal(stand.journal)
    placed = customers.placed
    refused = sum(wish.placed is False for wish in customers.wishes)
    yield (
        f"chaos: {placed} generations in {happened.seconds:.1f} s, {chaos.rate:.2f} a second"
        f" ({os.cpu_count()} cores, seed {seed})"
    )
    yield f"  orders     {_counted(chaos.ended)}; {refused} refused for want of credits"
    yield (
        f"             {happened.waited} waited for a word of KIE's, or were set aside: their times"
        f" were moved back by {WORD}, again and again until none was open"
    )
    yield f"  killed     {_counted(happened.killed)}; rows whose worker died: {chaos.deaths}"
    yield (
        f"  outages    FLUSHALL at {happened.flushed_at:.0f} s, PostgreSQL down from"
        f" {happened.crashed_at:.0f} to {happened.back_at:.0f} s"
    )
    yield f"  customers  sent again after {_counted(customers.troubles) or 'nothing'}"
    for name, counts in verdict.faults_in(journal).items():
        yield f"  {name:10} {_counted(counts)}"
    yield f"  storage    {_counted(Counter(stand.storage_faults()))}"
    yield f"  restarts   {_counted(stand.restarts) or 'none'}"
    used = Counter({n: s for n, s in happened.cpu.items() if s >= 0.1})
    yield f"  CPU        {sum(used.values()):.0f} s: " + ", ".join(
        f"{name} {seconds / max(1, placed) * 1000:.0f} ms" for name, seconds in used.most_common()
    )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def say(text: str, end: str = "\n") -> None:
    """Progress, for whoever watches."""
    if sys.stderr.isatty() or os.environ.get("CHAOS_PROGRESS"):
        print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
