"""One KIE account: what all its addresses share."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from generation.kie.sandbox import records
from generation.kie.sandbox.callbacks import Callbacks
from generation.kie.sandbox.drawing import draw, rework, size_of
from generation.kie.sandbox.faults import Faults
from generation.kie.sandbox.journal import Journal
from generation.kie.sandbox.schema import LARGEST_EDGE, model_named
from generation.kie.sandbox.tasks import Task, Tasks

WINDOW = 10.0  # seconds in which `rate` creates are taken


@dataclass
class Options:
    """How the sandbox behaves. Those in CHANGEABLE may be changed while it runs."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    public_url: str = ""  # how others reach it, where that is not host and port
    state: Path | None = None  # None: a temporary file, gone at the end
    journal: Path | None = None  # all that happens is written there
    seconds: float = 6.0  # how long a task takes
    spread: float = 0.0  # of that: from (1 - spread) to (1 + spread) times as long
    queuing: bool = False  # tasks are `queuing` for a while
    key: str = ""  # the only key that is accepted; "": any
    credits: float | None = None
    rate: int = 20  # creates in ten seconds for one key; 0: no limit
    real_statuses: bool = False  # HTTP status as the body's code
    webhook_key: str = ""  # signs callbacks
    retry_seconds: tuple[float, ...] = (2.0, 10.0, 30.0)  # after the first, second, third failure
    seed: int = 0
    faults: dict[str, float] = field(default_factory=dict)  # name: probability
    hidden_seconds: float = 3.0
    slow_seconds: float = 30.0
    largest_edge: int = LARGEST_EDGE  # pixels; pictures are drawn no larger
    draw_ahead: bool = False  # a picture is there when its task ends, not drawn when it is fetched
    log: Callable[[str], None] = lambda line: None


CHANGEABLE = {
    "seconds": float,
    "spread": float,
    "rate": int,
    "real_statuses": bool,
    "hidden_seconds": float,
    "slow_seconds": float,
}


class Account:
    def __init__(self, options: Options, state: Path) -> None:
        self.options = options
        self.url = ""  # set once the sandbox listens
        self.tasks = Tasks(state, options.credits)
        self.faults = Faults(options.faults, options.seed)
        self.throttle = Throttle()
        self.journal = Journal(options.journal)
        self.pictures = Pictures(options.largest_edge, self.picture_for)
        self.callbacks = Callbacks(self.tasks, self.journal, options, self.pictures.draw)
        self.received: deque[dict[str, Any]] = deque(maxlen=1000)  # createTask bodies
        self._lengths = random.Random(options.seed)  # noqa: S311
        self.fetched: set[str] = set()  # pictures that were asked for, for what happens once

    def picture_for(self, given: dict[str, Any]) -> bytes | None:
        """The first picture of an `input`, if it is an upload: the one that is worked on."""
        paths = (unquote(urlsplit(url).path).lstrip("/") for url in addresses(given))
        found = next((upload for path in paths if (upload := self.tasks.upload(path))), None)
        return found[1] if found else None

    def length(self) -> float:
        """Seconds that the next task takes."""
        spread = self.options.spread
        return self.options.seconds * self._lengths.uniform(1 - spread, 1 + spread)


class Throttle:
    """A sliding window for each key. Refused calls do not count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, deque[float]] = {}

    def admits(self, key: str, rate: int) -> bool:
        now = time.monotonic()
        with self._lock:
            taken = self._taken.setdefault(key, deque())
            while taken and taken[0] <= now - WINDOW:
                taken.popleft()
            if rate and len(taken) >= rate:
                return False
            taken.append(now)
            return True


class Pictures:
    """Draws two at a time, and keeps the last ones."""

    MOST_BYTES = 64_000_000

    def __init__(
        self, largest_edge: int, picture_for: Callable[[dict[str, Any]], bytes | None]
    ) -> None:
        self._largest_edge = largest_edge
        self._picture_for = picture_for
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._desk = threading.Semaphore(2)

    def draw(self, task: Task) -> None:
        """All that a task brings, before anybody fetches it."""
        if not task.failure:
            for index in range(len(records.file_names(task))):
                self.of(task, index)

    def of(self, task: Task, index: int) -> bytes:
        found = self._find((task.id, index))
        if found is not None:
            return found
        with self._desk:
            found = self._find((task.id, index))
            if found is None:
                found = self._keep((task.id, index), self._drawn(task, index))
            return found

    def _drawn(self, task: Task, index: int) -> bytes:
        model = model_named(task.model)
        source = self._picture_for(task.input)
        size = model.size(task.input, size_of(source)) if model else (1024, 1024)
        scale = min(1.0, self._largest_edge / max(size))
        size = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        file_format = "jpeg" if "result_mislabelled" in task.faults else records.file_format(task)
        parts = [task.model, f"{size[0]} × {size[1]}"]
        if references := sum(1 for _ in addresses(task.input)):
            parts.append(f"{references} reference" + "s" * (references > 1))
        prompt, label = str(task.input.get("prompt") or ""), " · ".join(parts)
        if model and model.work and size_of(source):
            # A layer is what is left when the rest is cut out.
            work = "background-removal" if index else model.work
            return rework(source or b"", work, prompt, label, size, file_format)
        return draw(f"{task.id}/{index}", prompt, label, size, file_format)

    def _find(self, key: tuple[str, int]) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[str, int], data: bytes) -> bytes:
        with self._lock:
            self._kept[key] = data
            while sum(map(len, self._kept.values())) > self.MOST_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)
        return data


def addresses(value: Any) -> list[str]:
    """The web addresses in an `input`: its reference images."""
    if isinstance(value, str):
        return [value] if value.startswith(("http://", "https://")) else []
    if isinstance(value, dict):
        value = list(value.values())
    return [url for v in value for url in addresses(v)] if isinstance(value, list) else []
