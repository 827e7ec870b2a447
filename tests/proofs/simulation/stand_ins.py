"""Puts the fakes in the places where the product meets the outside."""

from __future__ import annotations

from functools import partial
from operator import eq
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import django_rq
from django.conf import settings
from django.utils import crypto

from generation import breaker, doorbell, jobs, line, results
from generation.kie import client
from projects import decoders, live
from tests.proofs.simulation.files import MemoryStorage
from tests.proofs.simulation.kie import Adapter
from tests.proofs.simulation.world import Clock, World

if TYPE_CHECKING:
    from tests.proofs.simulation.story import Story

SITE = "https://studio.test"


def take_their_places(story: Story) -> None:
    """For this story; and settings that are another story's, within what a site may have."""
    rng = story.rng
    Adapter.kie, MemoryStorage.files = story.kie, story.files
    places: tuple[tuple[ModuleType, str, Any], ...] = (
        (doorbell, "redis", lambda: story.redis),
        (django_rq, "get_queue", lambda name, **_: story.queues[name]),
        (live, "redis", lambda: story.redis),
        (jobs, "ThreadPoolExecutor", lambda _number: Threads(story.world)),
        (crypto, "secrets", SimpleNamespace(choice=rng.choice, compare_digest=eq)),
        (client, "InTimeAdapter", Adapter),
        (client, "monotonic", Clock.monotonic),
        (results, "monotonic", Clock.monotonic),
        (results, "_answer", story.files.answer),
        (results, "Deadline", NoDeadline),
        (decoders, "decode", story.files.decode),
        (line, "MOST_IN_FLIGHT", rng.choice((1, 50, 50))),
        (breaker, "TRIPS_AT", rng.choice((1, 8, 8))),
    )
    for module, name, stand_in in places:
        setattr(module, name, stand_in)
    settings.PUBLIC_URL = rng.choice((SITE, SITE, ""))
    settings.KIE_WEBHOOK_KEY = rng.choice(("", "webhook-key"))
    settings.KIE_CREATES = rng.choice((2, 18, 18))


class Threads:
    """In the place of a ThreadPoolExecutor: all calls at once, each with its own waiting."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, do: Any, batch: list[Any]) -> list[Any]:
        return self.world.together([partial(do, one) for one in batch])


class NoDeadline:
    """In the place of results.Deadline, whose clock is the real one."""

    words = ""

    def __enter__(self) -> NoDeadline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def allow(self, seconds: float) -> None:
        pass
