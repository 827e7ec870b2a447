"""`manage.py tick` under a clock that need not tick when nothing is due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from generation import jobs
from tests.proofs.simulation.database import Database
from tests.proofs.simulation.world import BEGINNING, Step, World

LONGEST_PAUSE = 600.0  # between two ticks that find nothing to write
HALF_A_TICK = 0.5  # seconds from when a row is due, on the average
# When the tick has something to do next: a row is due, a lease has run out, a callback is unheard.
NEXT = """
SELECT MIN(CASE WHEN lease_until IS NULL THEN next_at ELSE lease_until END),
  EXISTS(SELECT 1 FROM generation_callback WHERE heard_at IS NULL)
FROM generation_generation
WHERE state IN ('queued', 'submitting', 'unknown', 'running', 'storing')
"""


class Ticker:
    """`manage.py tick`, without the seconds in which it would find nothing to do."""

    def __init__(self, world: World, database: Database) -> None:
        self.world, self.database = world, database
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
        if self.is_busy or (due := self._due()) is None:
            return
        at = max(due + HALF_A_TICK, self.last + self.pause)
        if self.planned is None or at < self.planned:
            self.planned = at
            self.world.later(at - self.world.now, lambda: self._tick(at))

    def _due(self) -> float | None:
        """When there is something to do for it; None for never, as things stand."""
        due, unheard = self.database.rows(NEXT)[0]
        return self.world.now if unheard else _seconds(due) if due else None

    def _tick(self, planned: float) -> None:
        if planned != self.planned:
            return
        self.planned = None
        if self.is_busy or self.is_off or (due := self._due()) is None:
            return
        if due > self.world.now:
            self._plan()
            return
        self.is_busy = True
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        step = Step("tick", self.world.now)
        self.on_step(step)
        self.world.take(step, jobs.tick, self._ended)

    def _ended(self, _is_alive: bool) -> None:
        self.last, self.is_busy = self.world.now, False
        self._plan()


def _seconds(written: str) -> float:
    """Of the story, as SQLite keeps a time."""
    return (datetime.fromisoformat(written).replace(tzinfo=UTC) - BEGINNING).total_seconds()
