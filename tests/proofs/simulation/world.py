"""Time, what runs in it, and how it dies. Everything random comes from one seed.

Each thing that runs (a job, a request, a callback) is a greenlet. It gives way to the others only
where the product talks to the outside or to the database without a transaction; so two workers
interleave as two processes would, and the same seed always tells the same story.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from random import Random

from greenlet import getcurrent, greenlet
from rq.timeouts import JobTimeoutException

BEGINNING = datetime(2026, 1, 5, 9, tzinfo=UTC)
JOB_SECONDS = 180.0  # RQ's time-out of a job (settings.RQ_QUEUES)
POINT_SECONDS = 0.0004  # that pass between two statements
MOST_EVENTS = 20_000  # of one story: more is a life that goes round in circles
MOST_SECONDS = 6 * 86_400.0


class Clock:
    """What the product takes for the time: that of the story that is being told."""

    world: World | None = None

    @classmethod
    def time(cls) -> datetime:
        return cls.world.time() if cls.world else BEGINNING

    @classmethod
    def monotonic(cls) -> float:
        return cls.world.now if cls.world else 0.0


class Crash(BaseException):
    """The process is killed here: nothing that follows in it happens."""


class Endless(Exception):
    """The story does not come to its end."""


@dataclass(frozen=True)
class Place:
    """Where in a step something happened: `step: after <its last lasting effect>`."""

    step: str
    after: str

    def __str__(self) -> str:
        return f"{self.step}: {f'after {self.after}' if self.after else 'at its beginning'}"


@dataclass
class Step:
    """One thing that a process does: a job, a request, a callback.

    `words` are what it has dealt with, `about` what its last lasting effect was about where that
    was one order in particular: names, ids and tokens of orders. `answers` is what it was answered
    about each, by who was asked ("createTask", …).
    """

    name: str
    began: float
    is_job: bool = False
    is_spared: bool = False  # it is not made to die
    dies_after: int | None = None  # lasting effects
    dies_at: str = ""  # only after this one
    dies_in: int = 0  # places further on, which may be inside a transaction
    is_killed: bool = False  # from outside: it dies where it is
    is_dead: bool = False
    timed_out: bool = False
    effects: list[str] = field(default_factory=list)
    words: set[str] = field(default_factory=set)
    about: set[str] = field(default_factory=set)
    answers: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def place(self) -> Place:
        return Place(self.name, self.effects[-1] if self.effects else "")


class Actor(greenlet):
    """A greenlet that takes a step."""

    step: Step


class World:
    """`on_death` and `on_error` are told which step ended before its end."""

    def __init__(self, seed: int, *, is_told: bool = False) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.now = 0.0
        self.events = 0
        self.is_told = is_told
        self.passed: set[Place] = set()
        self._fingerprint = blake2b(digest_size=12)
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._running: set[Actor] = set()
        self._number = 0
        self.switches = 0.0  # how likely another process goes on between two statements
        self.stalls = 0.0  # how likely this one stands still there, for longer than its lease
        self.on_death: Callable[[Step], None] = lambda step: None
        self.on_error: Callable[[Step, Exception], None] = lambda step, error: None

    # Time

    def time(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.now)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._coming, (self.now + max(0.0, seconds), self._number, do))

    def run(self, until: Callable[[], bool]) -> None:
        """Lets time go on, until this is so or nothing is to come."""
        while self._coming and not until():
            self.events += 1
            if self.events > MOST_EVENTS or self.now > MOST_SECONDS:
                raise Endless(f"{self.events} events, {self.now:.0f} s")
            at, _, do = heapq.heappop(self._coming)
            self.now = max(self.now, at)
            do()

    @property
    def next_at(self) -> float | None:
        return self._coming[0][0] if self._coming else None

    # What runs

    @property
    def step(self) -> Step | None:
        """Of whoever is running now; None outside of all steps."""
        return getattr(getcurrent(), "step", None)

    def take(self, step: Step, do: Callable[[], None], then: Callable[[bool], None]) -> None:
        """Begins the step; `then` is told at its end whether it is alive."""

        def whole() -> None:
            try:
                self.tell(f"{step.name} begins")
                do()
                self._at_its_end(step)
            except Crash:
                pass
            except Exception as error:
                self.tell(f"{step.name} fails: {type(error).__name__}: {error}")
                self.on_error(step, error)
            finally:
                self._running.discard(actor)
            if step.is_dead:
                self.on_death(step)
            then(not step.is_dead)

        actor = Actor(whole, self._hub())
        actor.step = step
        self._running.add(actor)
        self.later(0, actor.switch)

    def together(self, doings: list[Callable[[], object]]) -> list[object]:
        """As threads of the present step; their results when all have ended. Crash if it died."""
        parent = getcurrent()
        assert isinstance(parent, Actor)
        step, results, errors = parent.step, dict[int, object](), list[Exception]()
        open_ends = len(doings)

        def child(number: int) -> None:
            nonlocal open_ends
            try:
                results[number] = doings[number]()
            except Crash:
                pass
            except Exception as error:
                errors.append(error)
            open_ends -= 1
            if not open_ends:
                self.later(0, parent.switch)

        for number in range(len(doings)):
            actor = Actor(partial(child, number), self._hub())
            actor.step = step
            self.later(0, actor.switch)
        self._hub().switch()
        if step.is_dead or step.is_killed:
            self.die(step)
        if errors:
            raise errors[0]
        return [results[number] for number in range(len(doings))]

    def sleep(self, seconds: float) -> None:
        """Whoever is running stands still, and the others go on."""
        actor = getcurrent()
        assert isinstance(actor, Actor)
        self.later(seconds, actor.switch)
        self._hub().switch()
        step = actor.step
        if step.is_dead or step.is_killed:
            self.die(step)

    def _hub(self) -> greenlet:
        hub = getcurrent()
        while hub.parent is not None:
            hub = hub.parent
        return hub

    def kill_all(self) -> None:
        """Power cut: whatever is running dies where it is, when its turn comes."""
        for actor in self._running:
            actor.step.is_killed = True

    # How it dies

    def point(self, *, may_switch: bool) -> None:
        """Between two things that a step does."""
        step = self.step
        if step is None:
            return
        if step.is_dead or step.is_killed or self._is_due_to_die(step):
            self.die(step)
        self.now += POINT_SECONDS
        if step.is_job and not step.timed_out and self.now - step.began > JOB_SECONDS:
            step.timed_out = True
            self.tell(f"{step.name} is timed out")
            raise JobTimeoutException("Task exceeded maximum timeout value (180 seconds)")
        if may_switch and (self.switches or self.stalls):
            chance = self.rng.random()
            if chance < self.stalls:
                self.sleep(self.rng.choice((1, 8, 21, 21, 45, 200)))
            elif chance < self.stalls + self.switches:
                self.sleep(self.rng.choice((0, 0.001, 0.01, 0.1)))

    def _at_its_end(self, step: Step) -> None:
        """Whoever was to die on the way and has come so far dies now."""
        is_there = step.dies_at in ("", *step.effects[-1:])
        if step.is_killed or (step.dies_after is not None and step.effects and is_there):
            self.die(step)

    def _is_due_to_die(self, step: Step) -> bool:
        if step.dies_after is None or not step.effects:
            return False
        if step.dies_at and step.dies_at != step.effects[-1]:
            return False
        if not step.dies_at and len(step.effects) < step.dies_after:
            return False
        step.dies_in -= 1
        return step.dies_in < 0

    def die(self, step: Step) -> None:
        if not step.is_dead:
            step.is_dead = True
            self.tell(f"{step.name} dies {step.place}")
        raise Crash

    def effect(self, what: str, *about: str) -> None:
        """What the running step has done lasts from here on."""
        step = self.step
        if step is not None and not step.is_dead:
            step.effects.append(what)
            step.about = set(about)
            if not step.is_spared:
                self.passed.add(step.place)
            self.tell(f"{step.name}: {what}")

    # What happened

    def tell(self, line: str) -> None:
        text = f"{self.now:12.4f} {line}"
        self._fingerprint.update(text.encode())
        if self.is_told:
            print(text)

    @property
    def fingerprint(self) -> str:
        """The same for the same story."""
        return self._fingerprint.hexdigest()
