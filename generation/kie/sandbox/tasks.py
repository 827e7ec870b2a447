"""The tasks and the uploaded files: one SQLite file, which survives the process.

A task's state is not stored. It follows from when the task was made and what is to become of it,
so nothing has to run for a task to go on, and a restart changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.kie.sandbox.faults import FAILURES, RECORD_FAILURES

# profile: the states before the end, and until which part of the time each lasts
PROFILES = {
    "both": (("waiting", 0.4), ("generating", 1.0)),
    "waiting": (("waiting", 1.0),),
    "generating": (("generating", 1.0),),
    "queuing": (("waiting", 0.2), ("queuing", 0.4), ("generating", 1.0)),
}
FIRST_CREDITS = 10_000.0
UPLOAD_LIFE = 3 * 24 * 3600  # seconds; KIE's pages say 3 days

SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, model TEXT NOT NULL, input TEXT NOT NULL,
    callback_url TEXT, created REAL NOT NULL, seconds REAL NOT NULL, profile TEXT NOT NULL,
    credits REAL NOT NULL, pictures INTEGER NOT NULL, faults TEXT NOT NULL,
    returned REAL,  -- when its credits come back
    reported INTEGER NOT NULL DEFAULT 0  -- no callback is owed any more
);
CREATE INDEX IF NOT EXISTS tasks_credits ON tasks (returned, credits);
CREATE INDEX IF NOT EXISTS tasks_unreported ON tasks (number) WHERE reported = 0;
CREATE TABLE IF NOT EXISTS uploads (
    path TEXT PRIMARY KEY, content_type TEXT NOT NULL, data BLOB NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS account (credits REAL NOT NULL);
"""


@dataclass(frozen=True)
class Task:
    """One createTask that was accepted. `created` is in seconds since 1970, `seconds` how long
    it takes, `credits` what it costs when it succeeds."""

    id: str
    model: str
    input: dict[str, Any]
    callback_url: str | None
    created: float
    seconds: float
    profile: str
    credits: float
    pictures: int
    faults: frozenset[str]

    @property
    def ends(self) -> float | None:
        """When it ends; None for one that never does."""
        return None if "never_ends" in self.faults else self.created + self.seconds

    @property
    def failure(self) -> str | None:
        """The failMsg that it ends with; None if it succeeds."""
        if self.faults & RECORD_FAILURES.keys():
            return FAILURES["internal_error"]
        return next((FAILURES[name] for name in sorted(self.faults & FAILURES.keys())), None)

    def state(self, now: float) -> str:
        if self.ends is None:
            return "waiting"
        if now >= self.ends:
            return "fail" if self.failure else "success"
        part = (now - self.created) / max(self.seconds, 0.001)
        return next(word for word, until in PROFILES[self.profile] if part < until or until == 1.0)

    def file_names(self, extension: str) -> list[str]:
        """The pictures' names under /r/, in the form that KIE's had."""
        if self.ends is None or "empty" in self.faults:
            return []
        return [
            f"{self.id}_{int(self.ends)}_{_tail(self.id, i)}.{extension}"
            for i in range(self.pictures)
        ]


def _tail(task_id: str, index: int) -> str:
    return hashlib.sha256(f"{task_id}/{index}".encode()).hexdigest()[:8]


def new_task_id() -> str:
    return secrets.token_hex(16)


class Tasks:
    """The SQLite file. Thread-safe: one connection behind a lock, which every call holds for
    well under a millisecond (uploads for longer)."""

    def __init__(self, path: Path, credits: float | None = None) -> None:
        """`credits` sets what is left on the account; without it, a new file starts with
        FIRST_CREDITS and an old one goes on where it was."""
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        # A killed process loses nothing with this; a power cut may lose the last moment.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)
        if not self._db.execute("SELECT 1 FROM account").fetchone():
            self._db.execute("INSERT INTO account VALUES (?)", (FIRST_CREDITS,))
        if credits is not None:
            self.set_balance(credits, time.time())

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # The account

    def balance(self, now: float) -> float:
        with self._lock:
            (granted,) = self._db.execute("SELECT credits FROM account").fetchone()
            return round(float(granted) - self._spent(now), 2)

    def set_balance(self, credits: float, now: float) -> None:
        with self._lock:
            self._db.execute("UPDATE account SET credits = ?", (credits + self._spent(now),))

    def _spent(self, now: float) -> float:
        query = "SELECT total(credits) FROM tasks WHERE returned IS NULL OR returned > ?"
        (spent,) = self._db.execute(query, (now,)).fetchone()
        return float(spent)

    # Tasks

    def add(self, task: Task) -> bool:
        """Takes the task if the account can pay for it."""
        with self._lock:
            if self.balance(task.created) < task.credits:
                return False
            self._db.execute(
                "INSERT INTO tasks (id, model, input, callback_url, created, seconds, profile,"
                " credits, pictures, faults, returned, reported)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    task.id,
                    task.model,
                    json.dumps(task.input, ensure_ascii=False),
                    task.callback_url,
                    task.created,
                    task.seconds,
                    task.profile,
                    task.credits,
                    task.pictures,
                    json.dumps(sorted(task.faults)),
                    task.ends if task.failure else None,
                    task.ends is None,
                ),
            )
            return True

    def get(self, task_id: str) -> Task | None:
        with self._lock:
            row = self._db.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
        return _task(row) if row else None

    def newest(self, limit: int) -> list[Task]:
        """The last `limit` tasks, newest last."""
        with self._lock:
            query = "SELECT * FROM tasks ORDER BY number DESC LIMIT ?"
            rows = self._db.execute(query, (limit,)).fetchall()
        return [_task(row) for row in reversed(rows)]

    def unreported(self) -> Iterable[Task]:
        """Tasks whose end has not been logged and called back yet."""
        with self._lock:
            query = "SELECT * FROM tasks WHERE reported = 0 ORDER BY number"
            return [_task(row) for row in self._db.execute(query).fetchall()]

    def set_reported(self, task_id: str) -> None:
        with self._lock:
            self._db.execute("UPDATE tasks SET reported = 1 WHERE id = ?", (task_id,))

    # Uploads

    def keep_upload(self, path: str, content_type: str, data: bytes) -> None:
        """The same path again replaces the file, as at KIE."""
        now = time.time()
        with self._lock:
            self._db.execute("DELETE FROM uploads WHERE at < ?", (now - UPLOAD_LIFE,))
            self._db.execute(
                "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?)",
                (path, content_type, data, now),
            )

    def upload(self, path: str) -> tuple[str, bytes] | None:
        """Content type and bytes."""
        with self._lock:
            query = "SELECT content_type, data FROM uploads WHERE path = ?"
            row = self._db.execute(query, (path,)).fetchone()
        return (row["content_type"], row["data"]) if row else None

    def uploads(self) -> list[dict[str, Any]]:
        with self._lock:
            query = "SELECT path, content_type, length(data) AS size, at FROM uploads ORDER BY at"
            return [dict(row) for row in self._db.execute(query).fetchall()]


def _task(row: sqlite3.Row) -> Task:
    return Task(
        id=row["id"],
        model=row["model"],
        input=json.loads(row["input"]),
        callback_url=row["callback_url"],
        created=row["created"],
        seconds=row["seconds"],
        profile=row["profile"],
        credits=row["credits"],
        pictures=row["pictures"],
        faults=frozenset(json.loads(row["faults"])),
    )
