"""`manage.py tick` under a clock that need not tick when nothing is due."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from generation import clock, doorbell, lifecycle
from tests.proofs.simulation.database import Database
from tests.proofs.simulation.redis import Workers
from tests.proofs.simulation.world import BEGINNING, Step, World

LONGEST_PAUSE = 600.0  # between two ticks that find nothing to write
HALF_A_TICK = 0.5  # seconds from when a row is due, on the average
# When something is due: a task to ask after; any other row, or a lease that runs out; what is for
# the sweep. And whether there is a callback that nobody has heard.
NEXT = """
SELECT MIN(CASE WHEN is_poll THEN next_at END),
  MIN(CASE WHEN NOT is_poll THEN COALESCE(lease_until, next_at) END),
  MIN(CASE WHEN is_swept THEN COALESCE(lease_until, next_at) END),
  EXISTS(SELECT 1 FROM generation_callback WHERE heard_at IS NULL)
FROM (
  SELECT next_at, lease_until, state = 'running' AND lease_until IS NULL AS is_poll,
    state = 'unknown' OR lease_until IS NOT NULL AS is_swept
  FROM generation_generation
  WHERE state IN ('queued', 'submitting', 'unknown', 'running', 'storing')
)
"""


class Due(NamedTuple):
    """Seconds of the story; infinity for never, as things stand."""

    poll: float
    other: float
    sweep: float

    @property
    def first(self) -> float:
        return min(self.poll, self.other)


class Ticker:
    """`manage.py tick`, without the seconds in which it would find nothing to do.

    `stray`: where tasks are to be asked after, and nothing else is due, a bell that was long on its
    way comes instead. It saves most of the ticks; not all stories have it.
    """

    def __init__(self, world: World, database: Database, orders: Workers) -> None:
        self.world, self.database, self.orders = world, database, orders
        self.stray = False
        self.is_off = False
        self.on_step: Callable[[Step], None] = lambda step: None
        self.last = -1.0
        self.pause = 1.0
        self.planned: float | None = None
        self.is_busy = False

    def wake(self) -> None:
        """Something has changed."""
        self.pause = 1.0
        self._plan()

    def _plan(self) -> None:
        soonest = self.last + self.pause
        if self.is_busy or (self.planned or math.inf) <= soonest:
            return
        at = max(self._due().first + HALF_A_TICK, soonest)
        if at < (self.planned or math.inf):
            self.planned = at
            self.world.later(at - self.world.now, lambda: self._tick(at))

    def _due(self) -> Due:
        poll, other, sweep, unheard = self.database.rows(NEXT)[0]
        other = self.world.now if unheard else _seconds(other)
        return Due(_seconds(poll), other, _seconds(sweep))

    def _tick(self, planned: float) -> None:
        if planned != self.planned:
            return
        self.planned = None
        if self.is_busy or self.is_off:
            return
        due, now = self._due(), self.world.now
        if due.first > now:
            self._plan()
            return
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        if self.stray and due.other > now:
            self.orders.hear("poll")
            self._ended(True)
            return
        self.is_busy = True
        step = Step("tick", now)
        self.on_step(step)
        self.world.take(step, clock.tick if due.sweep <= now else _ring, self._ended)

    def _ended(self, _is_alive: bool) -> None:
        self.last, self.is_busy = self.world.now, False
        self._plan()


def _ring() -> None:
    """`clock.tick` where the sweep would find nothing."""
    lifecycle.ring_due()
    doorbell.ticked()


def _seconds(written: str | None) -> float:
    """Of the story, as SQLite keeps a time."""
    if written is None:
        return math.inf
    return (datetime.fromisoformat(written).replace(tzinfo=UTC) - BEGINNING).total_seconds()
