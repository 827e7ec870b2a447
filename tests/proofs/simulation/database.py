"""SQLite in memory: made once, copied for each seed; every statement is a place to die at."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet
from django.db.utils import OperationalError

from credits import invariants
from generation import audit
from generation.defaults import PROVIDER
from generation.models import Account
from tests.proofs.simulation import people
from tests.proofs.simulation.world import BEGINNING, World

CHANGE = re.compile(r'(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM) "?(\w+)')
UNDOING = ("ROLLBACK", "RELEASE")
ID_LENGTH = 24  # of projects.ids.new_id
OURS = ("/generation/", "/credits/")


def template() -> bytes:
    """A database as the program's own commands make it: migrated, with the catalogue."""
    call_command("migrate", verbosity=0)
    call_command("load_kie_models", stdout=io.StringIO())
    people.settle()
    _ask_nothing_of_the_account()
    connection.cursor().execute("VACUUM")
    image: bytes = connection.connection.serialize()
    connection.close()
    return image


def _ask_nothing_of_the_account() -> None:
    """What is left at KIE is no part of any order's story."""
    later = BEGINNING + timedelta(days=3650)
    Account.objects.create(provider=PROVIDER, address=settings.KIE_API_URL, next_at=later)


class Database:
    """The one connection that all processes of the story share: they take turns on it.

    `on_write` is called after every lasting change.
    """

    def __init__(self, image: bytes) -> None:
        connection.ensure_connection()
        raw = connection.connection
        raw.deserialize(image)
        raw.execute("ATTACH DATABASE ':memory:' AS beginning")
        raw.deserialize(image, name="beginning")
        raw.execute("DROP TRIGGER ledger_entry_no_delete")  # begin() has to
        self._changed: set[str] = set()  # tables, by any story
        connection.execute_wrappers.append(self._execute)
        wrapper: Any = connection
        self._real_commit = wrapper._commit
        wrapper._commit = self._commit
        self._questions: list[tuple[str, tuple[Any, ...]]] = []
        self._others: list[Callable[[], Iterable[object]]] = []
        self.world = World(0)
        self._has_written = False
        self._about: list[str] = []  # ids in what was written since the transaction began
        self.faults = 0.0  # how likely a statement finds the database gone
        self.on_write: Callable[[], None] = lambda: None

    def begin(self, world: World) -> None:
        """As it was in the beginning, for another story.

        Row by row: copied as a whole it would be another schema to SQLite, which then prepares all
        statements anew.
        """
        self.world, self.faults, self.on_write = world, 0.0, lambda: None
        connection.rollback()
        raw = connection.connection
        raw.execute("BEGIN")
        # sqlite_sequence comes last: what is inserted moves it.
        for table in (*sorted(self._changed), "sqlite_sequence"):
            raw.execute(f"DELETE FROM {table}")  # noqa: S608  (a table of ours)
            raw.execute(f"INSERT INTO {table} SELECT * FROM beginning.{table}")  # noqa: S608
        raw.execute("COMMIT")

    # Where a step may die

    def _execute(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        step = self.world.step
        if step is None:
            return execute(sql, params, many, context)
        if (step.is_dead or connection.needs_rollback) and sql.startswith(UNDOING):
            return execute(sql, params, many, context)
        self.world.point(may_switch=not connection.in_atomic_block)
        if self.faults and not sql.startswith(UNDOING) and self.world.rng.random() < self.faults:
            self.world.tell(f"{step.name}: the database is gone")
            raise OperationalError("server closed the connection unexpectedly")
        words = [word for word in params or () if type(word) is str and len(word) == ID_LENGTH]
        step.words.update(words)
        if not connection.in_atomic_block:
            self._has_written, self._about = False, []
        result = execute(sql, params, many, context)
        if change := CHANGE.match(sql):
            self._changed.add(change[1])
        # What returns its rows is not counted before they have been read.
        if change and (context["cursor"].rowcount or " RETURNING " in sql):
            self._about += words
            self._has_written = True
            if not connection.in_atomic_block:
                self._lasts()
        return result

    def _commit(self) -> None:
        step = self.world.step
        if step is None:
            self._real_commit()
            return
        try:
            self.world.point(may_switch=False)
        except BaseException:
            connection.rollback()
            raise
        chance = self.world.rng.random() if self.faults else 1.0
        if chance < self.faults:
            raise OperationalError("the connection was lost before the commit")
        self._real_commit()
        if self._has_written:
            self._lasts()
        if chance < 2 * self.faults:
            self.world.tell(f"{step.name}: the commit's answer is lost")
            raise OperationalError("the connection was lost after the commit")

    def _lasts(self) -> None:
        self.world.effect(_who_writes(sys._getframe(1)), *self._about)
        self._about = []
        self.on_write()

    # Looking from outside

    def rows(self, sql: str, *params: object) -> list[Any]:
        """What the database has right now, past all hooks. Not for use inside a transaction."""
        found: list[Any] = connection.connection.execute(sql, params).fetchall()
        return found

    def is_wrong(self) -> bool:
        """Does any question of the product's audits have an answer?

        The questions are compiled once: asking them anew costs twenty times as much.
        """
        if not self._questions:
            self._compile()
        raw = connection.connection
        return any(
            raw.execute(sql, params).fetchone() is not None for sql, params in self._questions
        ) or any(any(True for _ in ask()) for ask in self._others)

    def violations(self) -> list[str]:
        return [*audit.violations(), *invariants.violations()]

    def _compile(self) -> None:
        for ask in (*audit.QUESTIONS, *invariants.INVARIANTS):
            rows = ask()
            if isinstance(rows, QuerySet):
                sql, params = rows.query.sql_with_params()
                self._questions.append((sql.replace("%s", "?").replace("%%", "%"), params))
            else:
                self._others.append(ask)


def _who_writes(frame: FrameType | None) -> str:
    """The innermost public function of the product that is writing, `module.function`."""
    for code in _codes(frame):
        module = code.co_filename.rpartition("/")[2].removesuffix(".py")
        if any(ours in code.co_filename for ours in OURS) and not code.co_name.startswith(
            ("_", "<")
        ):
            return f"{module}.{code.co_name}"
    return "somebody"


def _codes(frame: FrameType | None) -> Iterator[Any]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back
