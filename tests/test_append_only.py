"""The tests' own flush empties append-only tables, and leaves them append-only."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from credits import ledger
from credits.models import CreditLedger, LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)


def entry(name: str) -> LedgerEntry:
    owner = User.objects.create_user(name)
    ledger.grant(ledger.ledger_of(owner), 100, reference=name, about=ledger.About())
    return LedgerEntry.objects.get(reference=name)


def refuses(statement: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    except DatabaseError as error:
        assert "append-only" in str(error)
        return True
    return False


def test_flush_empties_the_ledger_and_its_triggers_stay() -> None:
    entry("before")
    call_command("flush", interactive=False, verbosity=0)
    assert not CreditLedger.objects.exists()
    assert not LedgerEntry.objects.exists()

    entry("after")
    assert refuses("UPDATE credits_ledgerentry SET balance_change = 1")
    assert refuses("DELETE FROM credits_ledgerentry")
    if connection.vendor == "postgresql":
        assert refuses("TRUNCATE credits_ledgerentry CASCADE")
    assert LedgerEntry.objects.get().balance_change == 100


def test_a_flush_that_fails_leaves_the_triggers() -> None:
    entry("before")
    with pytest.raises(DatabaseError):
        connection.ops.execute_sql_flush(["DELETE FROM no_such_table"])
    assert refuses("DELETE FROM credits_ledgerentry")
