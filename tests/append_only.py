"""Lets a test's tables be emptied although triggers refuse that.

Ledger entries are append-only by triggers, in both databases. A test with real transactions
(`django_db(transaction=True)`) is cleaned up after by Django's `flush`, which deletes or truncates
every table; so the triggers are set aside for the flush, and only for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.operations import BaseDatabaseOperations

flush = BaseDatabaseOperations.execute_sql_flush


def install() -> None:
    """From now on Django's flush sets triggers aside."""
    BaseDatabaseOperations.execute_sql_flush = flush_without_triggers  # type: ignore[method-assign]


def flush_without_triggers(operations: Any, sql_list: list[str]) -> None:
    connection = operations.connection
    with transaction.atomic(using=connection.alias), triggers_aside(connection):
        flush(operations, sql_list)


@contextlib.contextmanager
def triggers_aside(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Inside a transaction: should the work fail, the triggers come back with the roll-back."""
    aside = {"sqlite": sqlite, "postgresql": postgresql}[connection.vendor]
    off, on = aside(connection)
    with connection.cursor() as cursor:
        for statement in off:
            cursor.execute(statement)
        yield
        for statement in on:
            cursor.execute(statement)


def sqlite(connection: BaseDatabaseWrapper) -> tuple[list[str], list[str]]:
    """SQLite cannot disable a trigger: drop it, and make it again from its own words."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = cursor.fetchall()
    quote = connection.ops.quote_name
    return [f"DROP TRIGGER {quote(name)}" for name, _ in triggers], [sql for _, sql in triggers]


def postgresql(connection: BaseDatabaseWrapper) -> tuple[list[str], list[str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
        )
        tables = [table for (table,) in cursor.fetchall()]
    off, on = (
        [f"ALTER TABLE {table} {change} TRIGGER USER" for table in tables]
        for change in ("DISABLE", "ENABLE")
    )
    return off, on
