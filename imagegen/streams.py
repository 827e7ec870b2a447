"""What open pages hear: one stream of server-sent events for each, in the web server's event loop.

Django decides who may hear what (generation/views/live.py), once for each stream; a stream lives
ten minutes and is then asked for again. What is told comes over one subscription to Redis. While
there is none, streams are refused and those that were open are ended: a page without a stream asks
by itself (static/js/live.js), and one that comes back is told whether it may have missed something.

An event's data are names (projects/live.py), its id is when it was told, in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection

from redis.asyncio import Redis
from redis.exceptions import RedisError

from projects.live import CHANNEL, EVERYTHING, GONE

log = logging.getLogger(__name__)

LIFE = 600.0  # seconds until Django is asked again
BEAT = 20.0  # seconds between two signs of life: proxies keep the stream, the page its trust in it
MARGIN = 3.0  # seconds: two servers' clocks, and what was on its way
TOGETHER = 0.02  # seconds: what belongs to one change is told in one event
AGAIN = 1.0  # seconds between two tries to reach Redis
QUIET = 5.0  # seconds after which Redis is asked whether it is still there
MOST_OF_ONE = 40  # streams of the same person on this process
REMEMBERED = 20_000  # audiences

Write = Callable[[bytes], Awaitable[None]]


class Listener:
    """One stream: the names that it has yet to be told."""

    def __init__(self, audiences: Collection[str]) -> None:
        self.audiences = audiences
        self.names: set[str] = set()
        self.is_over = False
        self._woken = asyncio.Event()

    def hear(self, names: Collection[str]) -> None:
        self.names |= set(names)
        self._woken.set()

    def end(self) -> None:
        self.is_over = True
        self._woken.set()

    async def listen(self, seconds: float) -> list[str]:
        """What it is told within so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
                await asyncio.sleep(TOGETHER)
        self._woken.clear()
        told, self.names = sorted(self.names), set()
        return told


class Streams:
    """All streams of this process."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._told: dict[str, float] = {}  # when an audience was told something last
        self._deaf_until = 0.0  # what was told before is not known
        self._can_hear = asyncio.Event()
        self._hearing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Hears from now on; to be called in the event loop."""
        self._hearing = asyncio.create_task(self._hear())

    async def open(self, audiences: Collection[str]) -> Listener | None:
        """None: nothing can be heard just now, or this person has too many streams."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN):
                await self._can_hear.wait()
        if not self._can_hear.is_set():
            return None
        own = [audience for audience in audiences if audience.startswith("user-")]
        if any(len(self._listeners.get(audience, ())) >= MOST_OF_ONE for audience in own):
            return None
        listener = Listener(audiences)
        for audience in audiences:
            self._listeners[audience].add(listener)
        return listener

    async def keep(self, listener: Listener, since: float, write: Write) -> None:
        """Writes what it is told until it is over. `since`: what the page shows is of then."""
        until = time.monotonic() + LIFE
        try:
            missed = self._may_have_missed(listener.audiences, since)
            await write(_event([EVERYTHING] if missed else []))
            while not listener.is_over and (left := until - time.monotonic()) > 0:
                names = await listener.listen(min(BEAT, left))
                if not listener.is_over:
                    await write(_event(names))
        finally:
            self._close(listener)

    def end_all(self) -> None:
        for listener in {one for group in self._listeners.values() for one in group}:
            listener.end()

    def _close(self, listener: Listener) -> None:
        for audience in listener.audiences:
            group = self._listeners[audience]
            group.discard(listener)
            if not group:
                del self._listeners[audience]

    def _may_have_missed(self, audiences: Collection[str], since: float) -> bool:
        if since < self._deaf_until + MARGIN:
            return True
        return any(self._told.get(a, 0) > since - MARGIN for a in audiences)

    # Hearing

    async def _hear(self) -> None:
        while True:
            try:
                async with Redis.from_url(self._redis_url, socket_connect_timeout=QUIET) as redis:
                    await self._hear_from(redis)
            except (RedisError, OSError) as error:
                log.warning("[Live] Nothing is heard: %s", error)
            self._can_hear.clear()
            self.end_all()
            await asyncio.sleep(AGAIN)

    async def _hear_from(self, redis: Redis) -> None:
        """Until Redis does not answer any more."""
        async with redis.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            asked = False
            while True:
                message = await subscription.get_message(timeout=QUIET)
                if message is None:
                    if asked:
                        raise RedisError("no answer")
                    await subscription.ping()
                    asked = True
                    continue
                asked = False
                if message["type"] == "subscribe":
                    self._told.clear()
                    self._deaf_until = time.time()
                    self._can_hear.set()
                elif message["type"] == "message":
                    self._tell(*json.loads(message["data"]))

    def _tell(self, audience: str, *names: str) -> None:
        if len(self._told) >= REMEMBERED:
            self._told.clear()
            self._deaf_until = time.time()
        self._told[audience] = time.time()
        for listener in list(self._listeners.get(audience, ())):
            if GONE in names:
                listener.end()
            else:
                listener.hear(names)


def _event(names: Collection[str]) -> bytes:
    return f"id: {time.time() * 1000:.0f}\ndata: {' '.join(names) or '-'}\n\n".encode()
