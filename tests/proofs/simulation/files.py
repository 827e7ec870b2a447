"""Where pictures come from and where they go: KIE's file host, the decoder, the storage."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage

from projects import decoders
from tests.proofs.simulation.faults import Faults
from tests.proofs.simulation.world import World

PNG = b"\x89PNG\r\n\x1a\n"
MEMBERS = 4  # pieces that a picture arrives in
UNOBTAINABLE = ("expired for good", "not a picture")
BROKEN = ("broken picture", "crashes")
KILLS = "dies every time"


def picture(url: str) -> bytes:
    """The picture behind KIE's link: another one for every link."""
    name = url.partition("?")[0]
    return PNG + hashlib.sha256(name.encode()).digest() * MEMBERS


@dataclass
class Answer:
    """As much of an http.client.HTTPResponse as generation/results.py looks at."""

    world: World
    status: int
    body: bytes = b""
    seconds: float = 0.0  # for all of the body
    is_cut: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.length = len(self.body)
        self._left = self.body[: len(self.body) // 2] if self.is_cut else self.body

    def read1(self, _most: int) -> bytes:
        if self.seconds and self._left:
            self.world.sleep(self.seconds / MEMBERS)
        size = -(-self.length // MEMBERS)
        piece, self._left = self._left[:size], self._left[size:]
        return piece


@dataclass
class Files:
    """Everything on a picture's way. `order_of` tells whose picture a link or a file's name is."""

    world: World
    faults: Faults
    stored: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # what became of each link for good
    verdicts: dict[str, str] = field(default_factory=dict)  # what is wrong with a picture stays so
    order_of: Callable[[str], str] = lambda name: ""
    on_answer: Callable[[str, str, str], None] = lambda order, asked, answer: None
    _links_of: dict[bytes, str] = field(default_factory=dict)

    # KIE's file host, in the place of results._answer

    @contextmanager
    def answer(self, url: str, _deadline: object) -> Iterator[Answer]:
        self.world.point(may_switch=True)
        kind = self._fate_of(url)
        order = self.order_of(url)
        self.world.sleep(0.05)
        try:
            if kind == "no answer":
                self.world.sleep(10)
                raise TimeoutError("timed out")
            yield self._answer(url, kind)
        finally:
            self.on_answer(order, "link", kind)
            self.world.effect("fetch", order)

    def _answer(self, url: str, kind: str) -> Answer:
        is_fresh = url.endswith("fresh=1")
        if kind == "503":
            return Answer(self.world, 503)
        if kind == "expired for good" or (kind.startswith("expired") and not is_fresh):
            return Answer(self.world, 403 if is_fresh else 404)
        if kind == "not a picture":
            return Answer(self.world, 200, b"<html>" + picture(url))
        seconds = 30.0 if kind == "slow" else 0.0
        self._links_of[picture(url)] = url.partition("?")[0]
        return Answer(self.world, 200, picture(url), seconds, is_cut=kind == "cut off")

    def _fate_of(self, url: str) -> str:
        """A link that has expired, or never led to a picture, stays so."""
        link = url.partition("?")[0]
        kind = self.links.get(link) or self.faults.draw("link")
        if kind.startswith("expired") or kind == "not a picture":
            self.links[link] = kind
        return kind

    # The decoder, in the place of decoders.decode

    def decode(self, _words: str, file: IO[bytes], answer: IO[bytes]) -> int:
        self.world.point(may_switch=True)
        data = file.read()
        link = self._links_of[data]
        kind = self._verdict_on(link)
        order = self.order_of(link)
        self.world.sleep(15 if kind == "hangs" else 0.1)
        self.on_answer(order, "decoder", kind)
        self.world.effect("decoding", order)
        if kind == "hangs":
            raise decoders.Slow("slower than 15 s")
        found: dict[str, Any] = {"width": 2048, "height": 1152, "parts": [[0, len(data)]]}
        if kind == "broken picture":
            found = {"fault": "broken"}
        answer.write(json.dumps(found).encode() + b"\n" + b"thumbnail")
        return {"dies": -9, "dies every time": -9, "crashes": -11}.get(kind, 0)

    def _verdict_on(self, link: str) -> str:
        kind = self.verdicts.get(link) or self.faults.draw("decoder")
        if kind not in ("dies", "hangs"):
            self.verdicts[link] = kind
        return kind

    def heal(self) -> None:
        """Nobody dies of a picture any more."""
        self.verdicts = {link: kind for link, kind in self.verdicts.items() if kind != KILLS}

    @property
    def lost(self) -> set[str]:
        """Links that never bring a picture."""
        gone = {link for link, kind in self.links.items() if kind in UNOBTAINABLE}
        return gone | {link for link, kind in self.verdicts.items() if kind in BROKEN}


class MemoryStorage(Storage):
    """The storage of settings.STORAGES: keeps files in `files`, or does not."""

    files: Files

    def _save(self, name: str, content: File[Any]) -> str:
        files, world = self.files, self.files.world
        world.point(may_switch=True)
        kind = files.faults.draw("storage")
        order = files.order_of(name)
        world.sleep({"down": 10.0, "slow": 8.0}.get(kind, 0.02))
        files.on_answer(order, "storage", kind)
        if kind == "down":
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        if kind == "disk full":
            raise OSError(errno.ENOSPC, "No space left on device")
        files.stored[name] = content.read()
        what = "thumbnail" if ".thumb." in name else "picture"
        world.effect(f"the {what} is stored", order)
        if kind == "written, no answer":
            raise OSError(errno.ETIMEDOUT, "Connection timed out")
        return name

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        return ContentFile(self.files.stored[name])

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name  # one that is stored again is replaced

    def exists(self, name: str) -> bool:
        return name in self.files.stored
