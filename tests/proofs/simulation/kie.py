"""KIE as it is at the other end of the connection: what it takes, makes, charges and tells.

It keeps the truth that the story is judged by. Its answers are bytes, so that the product's client
reads them as it reads KIE's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from django.conf import settings
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from tests.proofs.simulation.faults import Faults
from tests.proofs.simulation.world import World

FILES = "https://files.kie.test"
UNTIL_TIMED_OUT = 10.0  # seconds that the product waits for an answer
NO_WORD = 1800.0  # seconds after which the product gives up a task of which nobody told
APPEARS_IN = 80.0  # seconds in which recordInfo may not know a new task yet
RETRIES = (15.0, 30.0, 60.0)  # seconds to KIE's repeats of a callback that was not answered
DURATIONS = (0.05, 1.0, 2.0, 3.0, 6.0, 10.0)  # of a task, in seconds

NO_FOR_NOW = {
    "429": (200, 429, "You have exceeded the rate limit"),
    "455": (200, 455, "Service unavailable, maintenance"),
}
BLOCKED = {
    "401": (200, 401, "You do not have access permissions"),
    "402": (200, 402, "Credits insufficient"),
    "402 as 500": (200, 500, "Credits insufficient: the balance is not enough"),
    "433": (200, 433, "The key's limit is reached"),
}
REFUSED = {
    "refused 422": (200, 422, "The model name you specified is not supported"),
    "refused 400": (200, 400, "prompt is required"),
    "refused 500, known words": (200, 500, "This field is required"),
}
UNKNOWN_WORDS = (200, 500, "Server exception, please try again later")


@dataclass
class Task:
    """A task that KIE took. `order` is the number of the wish in its prompt."""

    id: str
    order: str
    request: dict[str, Any]
    number: int
    fate: str
    began_at: float
    ends_at: float
    appears_at: float
    pictures: list[str] = field(default_factory=list)
    is_told: bool = False  # createTask's answer brought its id
    is_reported: bool = False  # a callback of it was answered with 200

    @property
    def address(self) -> str:
        """Where its end is to be reported; "" for nowhere."""
        return str(self.request.get("callBackUrl", ""))

    @property
    def has_pictures(self) -> bool:
        return self.fate in ("one picture", "several pictures")


@dataclass(frozen=True)
class Call:
    """A createTask call that arrived."""

    order: str
    at: float
    answer: str


class Kie:
    """The account at KIE. `report` brings a callback: its address, body and headers."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world, self.faults = world, faults
        self.tasks: dict[str, Task] = {}
        self.calls: list[Call] = []
        self.is_blocked = False
        self.durations = DURATIONS
        self.report: Callable[[str, dict[str, Any], dict[str, str], Callable[[bool], None]], None]
        self.known_tasks: Callable[[], list[str]] = list  # those that the product knows
        self.on_accept: Callable[[Task], None] = lambda task: None
        self.on_create: Callable[[str], None] = lambda order: None
        self.on_answer: Callable[[str, str, str], None] = lambda order, asked, answer: None

    def send(self, request: requests.PreparedRequest) -> requests.Response:
        """What a connection's other end does with a request."""
        world = self.world
        world.point(may_switch=True)
        path = urlsplit(request.url or "")
        if path.path.endswith("/createTask"):
            return self._create(json.loads(request.body or "{}"))
        if path.path.endswith("/recordInfo"):
            return self._record(parse_qs(str(path.query))["taskId"][0])
        if path.path.endswith("/download-url"):
            return self._fresh_link(json.loads(request.body or "{}")["url"])
        raise NotImplementedError(path.path)

    # createTask

    def _create(self, body: dict[str, Any]) -> requests.Response:
        order = str(body["input"]["prompt"])
        kind = self.faults.draw("createTask")
        if kind == "another order's task" and not self.known_tasks():
            self.faults.keep("createTask", kind)
            kind = "accepted"
        with self._answering(order, "createTask", kind):
            return self._created(order, kind, body)

    def _created(self, order: str, kind: str, body: dict[str, Any]) -> requests.Response:
        self._connect(kind)
        self.calls.append(Call(order, self.world.now, kind))
        self.on_create(order)
        self.world.tell(f"KIE gets createTask for {order}: {kind}")
        task = None
        if kind.startswith(("accepted", "another")):
            task = self._accept(order, body)
        self.on_answer(order, "createTask", kind)
        self.world.effect("createTask, no answer yet", order)
        slow = kind == "accepted, slowly"
        self.world.sleep(self.world.rng.uniform(3, 9.5) if slow else self.world.rng.random() / 2)
        self.world.point(may_switch=False)
        return self._answer(kind, task)

    def _answer(self, kind: str, task: Task | None) -> requests.Response:
        if kind in ("accepted", "accepted, slowly"):
            assert task is not None
            task.is_told = True
            return answer(200, {"code": 200, "msg": "success", "data": {"taskId": task.id}})
        if kind == "another order's task":
            return answer(200, {"code": 200, "data": {"taskId": self.known_tasks()[0]}})
        if kind == "accepted, no task id":
            return answer(200, {"code": 200, "msg": "success", "data": None})
        if kind in BLOCKED:
            self.is_blocked = True
        known = NO_FOR_NOW | BLOCKED | REFUSED
        return said(*known[kind]) if kind in known else self._broken(kind)

    @contextmanager
    def _answering(self, order: str, asked: str, kind: str) -> Iterator[None]:
        """The step that asks has its answer from the end of this block on."""
        try:
            yield
        finally:
            if order:
                self.on_answer(order, asked, kind)
            self.world.effect(asked, order)

    def _connect(self, kind: str) -> None:
        if kind == "connection refused":
            reason = NewConnectionError(None, "Connection refused")  # type: ignore[arg-type]
            raise requests.ConnectionError(MaxRetryError(None, "", reason))  # type: ignore[arg-type]
        if kind == "no connection in time":
            self.world.sleep(3.05)
            raise requests.ConnectTimeout("connect timeout")

    def _broken(self, kind: str) -> requests.Response:
        """Answers that are none, on every address."""
        if kind.endswith("HTML 502"):
            return answer(502, "<html><head><title>502 Bad Gateway</title></head></html>")
        if kind.endswith("500 unknown words"):
            return said(*UNKNOWN_WORDS)
        if kind == "HTTP 429":
            return answer(429, "slow down")
        if kind.endswith("connection reset"):
            broken = ProtocolError("Connection aborted.", ConnectionResetError(104))
            raise requests.ConnectionError(broken)
        if kind.endswith("no answer"):
            self.world.sleep(UNTIL_TIMED_OUT)
            raise requests.ReadTimeout("Read timed out.")
        raise NotImplementedError(kind)

    def _accept(self, order: str, body: dict[str, Any]) -> Task:
        rng, now = self.world.rng, self.world.now
        fate = self.faults.draw("task")
        number = len(self.tasks) + 1
        task_id = f"{rng.getrandbits(128):032x}"
        lasts = float("inf") if fate == "never ends" else rng.choice(self.durations)
        task = Task(
            id=task_id,
            order=order,
            request=body,
            number=number,
            fate=fate,
            began_at=now,
            ends_at=now + lasts,
            appears_at=now + rng.choice((0, 0, 1, 5)),
            pictures=[f"{FILES}/r/{task_id}_{i}.png" for i in range(_pictures(fate))],
        )
        self.tasks[task_id] = task
        self.on_accept(task)
        self.world.tell(f"KIE takes {order} as task {task.number} {task_id}: {fate}")
        self.on_answer(order, "task", fate)
        self._plan_report(task)
        return task

    # recordInfo

    def _record(self, task_id: str) -> requests.Response:
        task = self.tasks.get(task_id)
        asker = self.world.step
        kind = self.faults.draw("recordInfo", by=asker.name if asker else "")
        now = self.world.now
        if kind == "as it is" and (task is None or now < task.appears_at):
            kind = "unknown yet"
        elif kind == "unknown yet" and task and now > task.began_at + APPEARS_IN:
            kind = "as it is"
        elif kind == "another task's" and len(self.tasks) == 1:
            self.faults.keep("recordInfo", kind)
            kind = "HTML 502"
        order = task.order if task else ""
        with self._answering(order, "recordInfo", kind):
            self._connect(kind)
            self.world.sleep(self.world.rng.random() / 5)
            return self._told(kind, task)

    def _told(self, kind: str, task: Task | None) -> requests.Response:
        if kind == "unknown yet":
            return said(200, 422, "recordInfo is null")
        if kind == "another task's":
            other = next(t for t in self.tasks.values() if t is not task)
            return answer(200, self._record_of(other))
        if kind in NO_FOR_NOW or kind in BLOCKED:
            return said(*(NO_FOR_NOW | BLOCKED)[kind])
        if kind != "as it is":
            return self._broken(kind)
        assert task is not None
        if task.fate == "501" and self.world.now >= task.ends_at:
            return said(200, 501, "generation failed")
        return answer(200, self._record_of(task))

    def _record_of(self, task: Task) -> dict[str, Any]:
        """recordInfo's body, and a callback's."""
        data: dict[str, Any] = {
            "taskId": task.id,
            "model": task.request["model"],
            "state": "generating" if self.world.now + 1 >= task.ends_at else "waiting",
            "param": json.dumps({**task.request, "input": json.dumps(task.request["input"])}),
            "resultJson": "",
            "failCode": None,
            "failMsg": None,
            "creditsConsumed": 6.0,
        }
        if self.world.now >= task.ends_at:
            data |= self._end_of(task)
        return {"code": 200, "msg": "success", "data": data}

    def _end_of(self, task: Task) -> dict[str, Any]:
        if task.fate == "fail, render":
            return {"state": "fail", "failCode": "500", "failMsg": "Internal server error"}
        if task.fate == "fail, unsafe":
            return {"state": "fail", "failCode": "400", "failMsg": "Content moderation failed"}
        return {"state": "success", "resultJson": json.dumps({"resultUrls": task.pictures})}

    # Fresh links

    def _fresh_link(self, url: str) -> requests.Response:
        task = self.tasks[url.rpartition("/")[2].partition("_")[0]]
        kind = self.faults.draw("download-url")
        with self._answering(task.order, "download-url", kind):
            self.world.sleep(self.world.rng.random() / 5)
            if kind == "fine":
                return answer(200, {"code": 200, "data": f"{url}?fresh=1"})
            return said(*NO_FOR_NOW[kind]) if kind in NO_FOR_NOW else self._broken(kind)

    # Callbacks

    def _plan_report(self, task: Task) -> None:
        if not task.address or task.fate == "never ends":
            return
        kind = self.faults.draw("callback")
        self.on_answer(task.order, "callback", kind)
        rng, until_end = self.world.rng, task.ends_at - self.world.now
        if kind == "early":  # before createTask has answered
            task.ends_at, until_end = self.world.now + 0.01, 0.01
            task.appears_at = self.world.now
        delays = {
            "lost": [],
            "early": [until_end],
            "twice": [until_end, until_end + rng.choice((0.0, 0.3, 40.0))],
            "late": [until_end + rng.choice((rng.uniform(60, 1500), NO_WORD + 2 * rng.random()))],
            "after give-up": [until_end + rng.choice((2000.0, 7000.0, 90_000.0))],
        }.get(kind, [until_end + rng.random() / 2])
        for delay in delays:
            self.world.later(delay, lambda: self._report(task, kind, 0))

    def _report(self, task: Task, kind: str, tries: int) -> None:
        claimed = task.id
        if kind == "of a task nobody knows":
            claimed = f"{self.world.rng.getrandbits(128):032x}"
        elif kind == "of another order's task":
            known = self.known_tasks()
            others = [t.id for t in self.tasks.values() if t is not task]
            claimed = min(others, key=known.__contains__, default=task.id)
        forged = claimed != task.id
        headers = {} if kind == "unsigned" else self._signature(claimed)

        def answered(is_answered: bool) -> None:
            if is_answered and not forged:
                task.is_reported = True
            elif not is_answered and tries < len(RETRIES):
                again = self.world.rng.uniform(0.5, 1) * RETRIES[tries]
                self.world.later(again, lambda: self._report(task, kind, tries + 1))

        body = self._record_of(task)
        body["data"]["taskId"] = claimed
        self.report(task.address, body, headers, answered)
        if forged and not tries:  # the true one comes as well, at some time
            later = self.world.rng.choice((0.0, 1.0, 30.0))
            self.world.later(later, lambda: self._report(task, "once", 0))

    def _signature(self, task_id: str) -> dict[str, str]:
        if not settings.KIE_WEBHOOK_KEY:
            return {}
        stamp = str(int(self.world.now))
        message = f"{task_id}.{stamp}".encode()
        digest = hmac.digest(settings.KIE_WEBHOOK_KEY.encode(), message, hashlib.sha256)
        return {
            "X-Webhook-Timestamp": stamp,
            "X-Webhook-Signature": base64.b64encode(digest).decode(),
        }


class Adapter:
    """In the place of generation/kie/connection.py's: hands the request over, and time passes."""

    kie: Kie

    def __init__(self, **_: Any) -> None:
        pass

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        return self.kie.send(request)

    def close(self) -> None:
        pass


def _pictures(fate: str) -> int:
    return {"one picture": 1, "several pictures": 3}.get(fate, 0)


def said(status: int, code: int, words: str) -> requests.Response:
    return answer(status, {"code": code, "msg": words, "data": None})


def answer(status: int, body: dict[str, Any] | str) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    text = body if isinstance(body, str) else json.dumps(body)
    response.raw = io.BytesIO(text.encode())
    return response
