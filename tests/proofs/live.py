"""python -m tests.proofs.live: how soon open boards show a picture that has been stored.

Many boards stand open, some of each project, while orders go through their lives at the rate that
KIE takes them. The web server has one core, everything else another. Three times the same orders:

  stream   as the site does it: a stream names what has changed, and the board fetches that
  polling  the best that polling could be: a signed address and a number in Redis, asked once a
           second by every board, which then fetches what has changed
  without  the fallback: no stream is to be had, and the board asks for its parts every 3 seconds

Exit status 1 if the site is too late.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.proofs.bench import percentile, quantiles
from tests.proofs.stand import Options, Stand

SHOWN_WITHIN = 0.5  # seconds, of every second picture
EVERY = {"polling": 1.0, "without": 3.0}  # seconds between two asks
KEPT_OPEN = 15.0  # seconds; the server closes a connection that nobody uses for thirty
REST = 0.15  # seconds between two asks of a board, or as long as the last one took
RATE = 1.8  # pictures a second: what KIE takes
CALM = 10  # times as long as the last ask took: until then nobody asks for what may wait
LOOK = 1.0  # seconds between two looks at what may wait
SETTLE = 4.0  # seconds until the streams are open and quiet
PATIENCE = 60.0  # seconds after which a board that has not shown a picture never will
# What an order goes through, and the seconds since it was placed; a picture takes KIE longer.
LIFE = (("sent", 0.4), ("generating", 0.9), ("made", 3.0), ("stored", 3.4))
PART = re.compile(rb'id="([a-z]+[-\w]*)"[^>]*?data-version="(\w*)"')
TAKE = re.compile(rb"/takes/(\w+)/thumbnail")
Answer = tuple[int, bytes]


@dataclass
class Told:
    """`shown`: seconds from a picture being stored until a board had it, for every board."""

    shown: list[float] = field(default_factory=list)
    asked: int = 0
    cpu: float = 0.0  # of the web server, as a part of one core
    idle: float = 0.0  # the same while nothing happens
    expected: int = 0


def main() -> int:
    options = arguments()
    print(
        f"live: {options.boards} open boards, {options.of_one} of each project, the web server on"
        f" one core; {RATE * options.rate:g} pictures a second for {options.seconds:g} s"
    )
    found = {}
    for means in options.means:
        told = found[means] = apart(measured, means, options)
        print(
            f"  {means:8} {quantiles(sorted(told.shown)) if told.shown else 'nothing'} after it was"
            f" stored, on {len(told.shown)} of {told.expected} boards; {told.asked} asks;"
            f" web server {told.cpu:.1%} of a core, idle {told.idle:.2%}"
            f" ({options.boards / max(told.idle, 0.001):,.0f} idle boards would fill it)"
        )
    stream = found.get("stream")
    if stream and "polling" in found:
        polling = found["polling"]
        print(
            f"  polling uses {polling.cpu / max(stream.cpu, 0.001):.1f} times the CPU of it,"
            f" {polling.idle / max(stream.idle, 0.001):.0f} times while idle, and is"
            f" {percentile(sorted(polling.shown), 50) / percentile(sorted(stream.shown), 50):.1f}"
            " times as late"
        )
    wrong = []
    if stream and len(stream.shown) < stream.expected:
        wrong.append(f"{stream.expected - len(stream.shown)} boards never had a picture")
    if stream and not options.busy and percentile(sorted(stream.shown), 50) > SHOWN_WITHIN:
        wrong.append(f"every second board is later than {SHOWN_WITHIN:g} s")
    for words in wrong:
        print(f"WRONG {words}")
    return 1 if wrong else 0


def apart(measure: Callable[..., Told], *arguments: object) -> Told:
    """In a process of its own: a stand sets up Django, which can be done only once in each."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def measured(means: str, options: argparse.Namespace) -> Told:
    environment = {"ORDER_WORKERS": "1", "PICTURE_WORKERS": "1", "LOG_LEVEL": "WARNING"}
    stand = Stand(Options(callbacks=False, environment=environment, creates=1))
    if means == "polling":
        stand.replace("web", POLLED)
    with stand as site:
        stand_still(site)
        projects = film(-(-options.boards // options.of_one), options.seed)
        cookies = {project: cookie_of(project) for project in projects}
        places = itertools.islice(itertools.cycle(projects), options.boards)
        boards = [Board(site.site_url, project, cookies[project], means) for project in places]
        lives = Lives(projects, RATE * options.rate, options.seconds, options.seed)
        if options.pin:
            pin(site)
        return asyncio.run(Watch(site, boards, lives, options).run())


# The site


# Where a signed address is answered from Redis alone, as no page of the site is.
POLLED = (
    'granian --interface wsgi --host "$HOST" --port "$PORT" --workers 1 --blocking-threads 4'
    " --workers-kill-timeout 5 --no-ws tests.proofs.polled:application"
)


def stand_still(site: Stand) -> None:
    """Nobody but this proof moves the orders."""
    for name in ("tick", "orders", "pictures"):
        site.rest(name)


def pin(site: Stand) -> None:
    """The web server on one core, everything else on the others."""
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return
    for pid in site.family("web"):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {first})
    os.sched_setaffinity(0, others)  # the boards, of whom a browser has each its own


def film(count: int, seed: int) -> list[Any]:
    """So many projects with ten scenes each, and an owner who can pay."""
    from django.contrib.auth.models import User

    from credits import ledger
    from projects.models import Project, Scene

    projects = []
    for n in range(count):
        owner = User.objects.create(username=f"owner{n}")
        about = ledger.About(type="grant", description="For a proof")
        ledger.grant(ledger.ledger_of(owner), 1_000_000, reference=f"proof:{n}", about=about)
        projects.append(Project.objects.create(owner=owner, name=f"Film {n}"))
    Scene.objects.bulk_create(
        Scene(project=p, number=str(n), position=n, title=f"Shot {n}", description="Dunes")
        for p in projects
        for n in range(1, 11)
    )
    return projects


def cookie_of(project: Any) -> str:
    from django.test import Client

    client = Client()
    client.force_login(project.owner)
    return f"sessionid={client.cookies['sessionid'].value}"


# Orders


class Lives:
    """Orders that are placed one after the other and go through their lives."""

    def __init__(self, projects: list[Any], rate: float, seconds: float, seed: int) -> None:
        rng = random.Random(seed)
        # A card shows one take: a scene has one order, or its second could hide the first.
        scenes = {project.pk: list(project.scenes.all()) for project in projects}
        self.stored: dict[str, float] = {}  # when, by take
        self._due: list[tuple[float, int, str, Any]] = []
        self._number = itertools.count()
        for n in range(round(rate * seconds)):
            of_one = rng.choice([left for left in scenes.values() if left])
            self._at(n / rate, "placed", of_one.pop(rng.randrange(len(of_one))))

    def _at(self, when: float, step: str, what: Any) -> None:
        heapq.heappush(self._due, (when, next(self._number), step, what))

    def run(self) -> None:
        from tests import stages

        began = time.monotonic()
        while self._due:
            when, _number, step, what = heapq.heappop(self._due)
            time.sleep(max(0, began + when - time.monotonic()))
            if step == "placed":
                order = stages.ordered(what)
                for name, after in LIFE:
                    self._at(when + after, name, order)
            elif step == "stored":
                take = stages.stored(what)
                self.stored[take.pk] = time.monotonic()
            else:
                getattr(stages, step)(what)


# Boards


class Board:
    """One open board, as static/js/live.js keeps it."""

    def __init__(self, site: str, project: Any, cookie: str, means: str) -> None:
        self.project, self.means = project, means
        self.host, _, self.port = site.removeprefix("http://").partition(":")
        self.address = f"/projects/{project.pk}/"
        self.cookie = cookie
        self.parts: dict[str, str] = {}
        self.shown: dict[str, float] = {}  # when a take was there
        self.asked = 0
        self.hearing: asyncio.Task[None] | None = None
        self.asking = asyncio.Lock()
        self.listens = asyncio.Event()
        self.wanted: set[str] = set()
        self.looks_at = random.random()  # the clock's first look; every second from then on
        self.asked_at = self.took = 0.0
        self._used_at = 0.0
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        _status, page = await self.get(self.address)
        self._learn(page)
        found = re.search(rb'data-stream="([^"]+)"', page)
        assert found, page[:500]
        self.stream = found[1].decode().replace("&amp;", "&")

    async def live(self) -> None:
        if self.means == "stream":
            await self._listen()
        self.listens.set()
        every = EVERY[self.means]
        await asyncio.sleep(random.random() * every)
        version = b""
        while True:
            began = time.monotonic()
            if self.means == "without":
                await self.ask(set(self.parts))
            else:
                _status, said = await self.get(f"/proof/{polled_key(self.project.pk)}")
                if said != version:
                    version = said
                    names = set(json.loads(said)["names"]) if said else set()
                    await self.hear(names)
            await asyncio.sleep(max(0, began + every - time.monotonic()))

    async def _listen(self) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(self._request(self.stream))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head, head
        while True:
            line = await reader.readuntil(b"\n")
            if line.startswith(b"data: "):
                self.listens.set()
                names = set(line[6:].decode().split())
                self.hearing = asyncio.create_task(self.hear(names))

    async def hear(self, names: set[str]) -> None:
        if "*" in names:
            self.wanted |= self.parts.keys()
        about = {name.removeprefix("~") for name in names}
        self.wanted |= about & self.parts.keys()
        if "scenes" in about:
            self.wanted.add("filters")
        if about & {"credits", "asks"}:
            self.wanted.add("frame")
        if self.means == "stream" and all(name.startswith("~") for name in names):
            await self._look()
        if self.asking.locked():
            return  # whoever asks now asks for these next
        async with self.asking:
            while self.wanted:
                wanted, self.wanted = self.wanted, set()
                await self.ask(wanted)
                await asyncio.sleep(max(REST, self.took))

    async def _look(self) -> None:
        """Waits for the clock, and for a site that is not too busy."""
        while True:
            await asyncio.sleep((self.looks_at - time.monotonic()) % LOOK)
            if time.monotonic() - self.asked_at > CALM * self.took:
                return

    async def ask(self, wanted: set[str]) -> None:
        told = ",".join(f"{part}:{self.parts.get(part, '')}" for part in wanted)
        self.asked_at = time.monotonic()
        status, page = await self.get(f"{self.address}?fresh={told}")
        self.took = time.monotonic() - self.asked_at
        assert status in (200, 204), status
        self._learn(page)
        for take in TAKE.findall(page):
            self.shown.setdefault(take.decode(), time.monotonic())

    def _learn(self, page: bytes) -> None:
        self.parts |= {part.decode(): version.decode() for part, version in PART.findall(page)}

    async def get(self, path: str) -> Answer:
        self.asked += 1
        if self._connection is None or time.monotonic() - self._used_at > KEPT_OPEN:
            self._connection = await asyncio.open_connection(self.host, self.port)
        self._used_at = time.monotonic()
        reader, writer = self._connection
        writer.write(self._request(path))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(maxsplit=2)[1])
        length = re.search(rb"content-length: (\d+)", head)
        if length:
            return status, await reader.readexactly(int(length[1]))
        body = b""
        while b"chunked" in head and (size := int(await reader.readline(), 16)):
            body += await reader.readexactly(size + 2)
        if b"chunked" in head:
            await reader.readline()
        return status, body

    def _request(self, path: str) -> bytes:
        return (
            f"GET {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nCookie: {self.cookie}\r\n"
            "HX-Request: true\r\n\r\n"
        ).encode()


class Watch:
    def __init__(
        self, site: Stand, boards: list[Board], lives: Lives, options: argparse.Namespace
    ) -> None:
        self.site, self.boards, self.lives, self.options = site, boards, lives, options

    async def run(self) -> Told:
        told = Told()
        await self._open()
        tasks = [asyncio.create_task(board.live()) for board in self.boards]
        for board in self.boards:
            await board.listens.wait()
        await asyncio.sleep(SETTLE)
        told.idle = await self._cpu_of(asyncio.sleep(self.options.seconds / 2))
        before = sum(board.asked for board in self.boards)
        told.cpu = await self._cpu_of(asyncio.to_thread(self.lives.run))
        whose = await asyncio.to_thread(owners, list(self.lives.stored))
        await self._all_shown(whose)
        told.asked = sum(board.asked for board in self.boards) - before
        for task in tasks:
            assert not task.done(), task.exception()
            task.cancel()
        for board in self.boards:
            for take in _takes_of(board, whose):
                told.expected += 1
                if take in board.shown:
                    told.shown.append(max(0.0, board.shown[take] - self.lives.stored[take]))
        return told

    async def _all_shown(self, whose: dict[str, str]) -> None:
        """Until every board shows the pictures of its project, or has had the time for it."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and any(
            take not in board.shown for board in self.boards for take in _takes_of(board, whose)
        ):
            await asyncio.sleep(0.1)

    async def _open(self) -> None:
        """Boards of one project and one person are the same page."""
        first: dict[str, Board] = {}
        for board in self.boards:
            if like := first.get(board.project.pk):
                board.parts, board.stream = dict(like.parts), like.stream
            else:
                first[board.project.pk] = board
                await board.open()

    async def _cpu_of(self, work: Any) -> float:
        """CPU seconds of the web server for each second that this takes."""
        cpu, began = self.site.cpu()["web"], time.monotonic()
        await work
        return (self.site.cpu()["web"] - cpu) / (time.monotonic() - began)


def _takes_of(board: Board, whose: dict[str, str]) -> list[str]:
    return [take for take, project in whose.items() if project == board.project.pk]


def owners(takes: list[str]) -> dict[str, str]:
    from projects.models import Take

    return dict(Take.objects.filter(pk__in=takes).values_list("pk", "project_id"))


def polled_key(project_id: str) -> str:
    from django.core.signing import Signer

    return Signer(salt="proof").sign(project_id)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.live", description=__doc__)
    add = parser.add_argument
    add("--boards", type=int, default=1000, metavar="N", help="open at once")
    add("--of-one", type=int, default=5, metavar="N", help="boards of the same project")
    add("--seconds", type=float, default=20, metavar="S", help="for which orders are placed")
    add("--rate", type=float, default=1.0, metavar="X", help="times what KIE takes")
    add("--means", nargs="+", default=["stream", "polling", "without"])
    add("--seed", type=int, default=1)
    add("--no-pin", dest="pin", action="store_false", help="on whatever cores there are")
    add("--busy", action="store_true", help="others use this machine: seconds are only printed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
