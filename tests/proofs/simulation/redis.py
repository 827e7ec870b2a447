"""A Redis that may forget, hang up or lose a bell; and the workers who listen to its queues."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from redis.exceptions import ConnectionError as NoRedis

from generation import jobs
from generation.kie import limiter
from tests.proofs.simulation.world import Step, World

RESTART_SECONDS = 1.0  # until there is a worker again after one has died


@dataclass
class Bells:
    """What may become of a bell on its way to a worker: how likely each is."""

    lost: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    reordered: float = 0.0


@dataclass
class Redis:
    """What doorbell.py, kie/limiter.py and live.py ask of a connection, and nothing else."""

    world: World
    is_down: bool = False
    keys: dict[str, tuple[Any, float]] = field(default_factory=dict)  # value, and until when

    def set(
        self, name: str, value: object, nx: bool = False, ex: float = 0, px: float = 0
    ) -> bool | None:
        self._asked("SET")
        if nx and self._has(name):
            return None
        until = self.world.now + (ex or px / 1000 or float("inf"))
        self.keys[name] = (value, until)
        return True

    def get(self, name: str) -> bytes | None:
        self._asked("GET")
        return str(self.keys[name][0]).encode() if self._has(name) else None

    def delete(self, *names: str) -> int:
        self._asked("DEL")
        return sum(self.keys.pop(name, None) is not None for name in names)

    def eval(self, script: str, count: int, *arguments: Any) -> int:
        self._asked("EVAL")
        keys, rest = arguments[:count], arguments[count:]
        if script == limiter.ANSWERED:  # the order has gone on already: dying after it is no news
            return self._answered(*keys, *rest)
        take = {limiter.TAKE: True, limiter.RETELL: False}[script]
        answer = self._take(*keys, *rest) if take else self._retell(*keys, *rest)
        self.world.effect("a place in the window")
        return answer

    def publish(self, _channel: str, _news: str) -> int:
        """What open pages are told; whether they hear it is not the story."""
        self._asked("PUBLISH")
        return 0

    def flush(self) -> None:
        self.keys.clear()

    # The scripts of kie/limiter.py in Python

    def _take(
        self, calls: str, whole: str, shut: str, most: int, window: int, wanted: int, caller: str
    ) -> int:
        if not self._has(whole):
            return -1
        if self._has(shut):
            return 0
        now = self.world.now * 1000
        made = {c: at for c, at in self._calls(calls).items() if at > now - window}
        taken = max(0, min(most - len(made), wanted))
        made |= {f"{caller}:{i}": now for i in range(1, taken + 1)}
        self.keys[calls] = (made, self.world.now + window / 1000)
        return taken

    def _answered(self, calls: str, whole: str, shut: str, window: int, caller: str) -> int:
        now = self.world.now * 1000
        made = dict(self._calls(calls))
        if f"{caller}:1" in made:
            made[f"{caller}:1"] = now
            self.keys[calls] = (made, self.world.now + window / 1000)
        return 0

    def _retell(self, calls: str, whole: str, shut: str, window: int, *told: Any) -> int:
        now = self.world.now * 1000
        made = dict(self._calls(calls))
        for name, age in zip(told[::2], told[1::2], strict=True):
            made.setdefault(f"{name}:1", now - age)
        self.keys[calls] = (made, self.world.now + window / 1000)
        self.keys[whole] = (now, float("inf"))
        return 0

    def _calls(self, name: str) -> dict[str, float]:
        found: dict[str, float] = self.keys[name][0] if self._has(name) else {}
        return found

    def _has(self, name: str) -> bool:
        return name in self.keys and self.keys[name][1] > self.world.now

    def _asked(self, what: str) -> None:
        self.world.point(may_switch=True)
        if self.is_down:
            raise NoRedis(f"no Redis for {what}")


class Workers:
    """The worker processes of one queue, each of which does one job after the other."""

    def __init__(self, world: World, redis: Redis, name: str, number: int, bells: Bells) -> None:
        self.world, self.redis, self.name, self.bells = world, redis, name, bells
        self.idle = number
        self.waiting: list[tuple[str, str]] = []
        self.ids: list[str] = []  # of the jobs that no worker has taken; some are late to be seen
        self.is_off = False
        self.on_job: Callable[[Step], None] = lambda step: None

    def get_job_ids(self) -> list[str]:
        self.redis._asked("LRANGE")
        return self.ids

    def enqueue(self, job: str, *, job_id: str) -> SimpleNamespace:
        self.redis._asked("RPUSH")
        rng, bells = self.world.rng, self.bells
        step = self.world.step
        self.world.effect(f"the bell for {job.rpartition('.')[2]}", *(step.about if step else ()))
        if rng.random() < bells.lost:
            self.world.tell(f"a bell is lost: {job}")
            return SimpleNamespace()
        for _copy in range(1 + (rng.random() < bells.doubled)):
            delay = rng.uniform(0.5, 20) if rng.random() < bells.delayed else 0.001
            self.ids.append(job_id)
            self.world.later(delay, lambda: self.hear(job.rpartition(".")[2], job_id))
        return SimpleNamespace()

    def flush(self) -> None:
        self.waiting.clear()
        self.ids.clear()

    def hear(self, job: str, job_id: str = "") -> None:
        """A bell arrives."""
        self.waiting.append((job, job_id))
        self.look()

    def look(self) -> None:
        """Idle workers take what waits."""
        while self.idle and self.waiting and not (self.is_off or self.redis.is_down):
            last = self.world.rng.random() < self.bells.reordered
            job, job_id = self.waiting.pop(-1 if last else 0)
            with suppress(ValueError):  # it was flushed away, or is none of the queue's
                self.ids.remove(job_id)
            self._do(job)

    def _do(self, job: str) -> None:
        self.idle -= 1
        step = Step(job, self.world.now, is_job=True)
        self.on_job(step)
        self.world.take(step, lambda: getattr(jobs, job)(), self._ended)

    def _ended(self, is_alive: bool) -> None:
        self.world.later(0.0005 if is_alive else RESTART_SECONDS, self._back)

    def _back(self) -> None:
        self.idle += 1
        self.look()
