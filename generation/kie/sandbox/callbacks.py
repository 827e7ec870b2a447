"""Sees tasks end: says so in the log, and calls back whoever wanted it."""

from __future__ import annotations

import base64
import hashlib
import heapq
import hmac
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import requests

from generation.kie.sandbox.journal import Journal
from generation.kie.sandbox.records import callback_body, compact
from generation.kie.sandbox.tasks import Task, Tasks

if TYPE_CHECKING:
    from generation.kie.sandbox.account import Options

TIMEOUT = 15.0  # seconds; KIE gives up on an answer after as many
AHEAD = 2.0  # seconds before its end that a task's pictures are drawn, with `draw_ahead`
DRAWING = -1  # in place of the number of an attempt
SILENT = {"callback_lost", "callback_early"}  # nothing is sent at the end


def signature(key: str, task_id: str, timestamp: str) -> str:
    """X-Webhook-Signature: base64 of HMAC-SHA256 over "taskId.timestamp"."""
    digest = hmac.new(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


class Callbacks:
    """One thread watches the clock, each callback has one of its own (KIE takes two tasks a second,
    so they stay few). All are daemons: the process may end at once."""

    def __init__(
        self, tasks: Tasks, journal: Journal, options: Options, draw: Callable[[Task], None]
    ) -> None:
        self.base = ""  # the sandbox's own address, known once it listens
        self.sent: deque[dict[str, Any]] = deque(maxlen=1000)
        self._tasks = tasks
        self._journal = journal
        self._options = options
        self._draw = draw
        self._due: list[tuple[float, int, Task, int]] = []
        self._number = itertools.count()
        self._wake = threading.Condition()
        self._stopped = False

    def start(self) -> None:
        for task in self._tasks.unreported():
            self.watch(task)
        _in_background(self._watch_clock)

    def stop(self) -> None:
        with self._wake:
            self._stopped = True
            self._wake.notify()

    def watch(self, task: Task) -> None:
        if task.ends is None:
            return
        if self._options.draw_ahead:
            self._put(task.ends - AHEAD, task, DRAWING)
        self._put(task.ends, task, 0)

    def send(self, task: Task) -> int:
        """Calls back now; the HTTP status of the answer, 0 when none came."""
        assert task.callback_url
        headers = {"Content-Type": "application/json", "User-Agent": "Java-http-client/17.0.10"}
        body = compact(callback_body(task, self.base)).encode()
        try:
            status = requests.post(
                task.callback_url,
                data=body,
                headers=headers | self._signed(task),
                timeout=TIMEOUT,
                allow_redirects=False,
            ).status_code
        except requests.RequestException:
            status = 0
        self.sent.append({"taskId": task.id, "at": time.time(), "status": status})
        self._journal.note("callback", taskId=task.id, to=task.callback_url, status=status)
        return status

    def _signed(self, task: Task) -> dict[str, str]:
        key = self._options.webhook_key
        if not key or "callback_unsigned" in task.faults:
            return {}
        timestamp = str(int(time.time()))
        if "callback_badly_signed" in task.faults:
            key += "?"
        return {
            "X-Webhook-Timestamp": timestamp,
            "X-Webhook-Signature": signature(key, task.id, timestamp),
        }

    def _put(self, at: float, task: Task, attempt: int) -> None:
        with self._wake:
            heapq.heappush(self._due, (at, next(self._number), task, attempt))
            self._wake.notify()

    def _watch_clock(self) -> None:
        while True:
            with self._wake:
                while not self._stopped and (not self._due or self._due[0][0] > time.time()):
                    left = self._due[0][0] - time.time() if self._due else None
                    self._wake.wait(left)
                if self._stopped:
                    return
                _, _, task, attempt = heapq.heappop(self._due)
            if attempt == DRAWING:
                _in_background(self._draw, task)
            elif attempt == 0:
                self._end(task)
            else:
                _in_background(self._deliver, task, attempt)

    def _end(self, task: Task) -> None:
        outcome = f"fail: {task.failure}" if task.failure else "success"
        self._options.log(f"task {task.id} {outcome}")
        self._journal.note("end", taskId=task.id, outcome=outcome)
        if not task.callback_url or task.faults & SILENT:
            self._settle(task)
        elif "callback_late" in task.faults:
            self._put(time.time() + self._options.slow_seconds, task, 1)
        else:
            _in_background(self._deliver, task, 1)

    def _deliver(self, task: Task, attempt: int) -> None:
        """One attempt; another one later if it failed and there is one left."""
        status = self.send(task)
        if "callback_twice" in task.faults and attempt == 1:
            status = self.send(task)
        if status != 200 and attempt <= len(self._options.retry_seconds):
            self._put(time.time() + self._options.retry_seconds[attempt - 1], task, attempt + 1)
        else:
            self._settle(task)

    def _settle(self, task: Task) -> None:
        """No callback is owed any more. After `stop` the file is closed: the next start calls
        back again."""
        with self._wake:
            if not self._stopped:
                self._tasks.set_reported(task.id)


def _in_background(function: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()
