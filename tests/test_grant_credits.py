"""manage.py grant_credits: whom it is for, and what it says."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from credits.models import LedgerEntry

pytestmark = pytest.mark.django_db


def grant(user: str, credits: str = "3.24") -> str:
    out = StringIO()
    call_command("grant_credits", user, credits, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("named", ["alice", "ALICE@example.com"])
def test_by_name_or_by_address(alice: User, named: str) -> None:
    User.objects.filter(pk=alice.pk).update(email="alice@example.com")
    assert grant(named).startswith("alice: 3.24 credits granted, 3.24 credits in all")
    assert LedgerEntry.objects.get().ledger.owner == alice


def test_a_name_that_looks_like_an_address_gets_nothing(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(email="boss@film.com")
    User.objects.create_user("boss@film.com")
    with pytest.raises(CommandError, match="may mean several users: alice, boss@film.com"):
        grant("boss@film.com")
    assert not LedgerEntry.objects.exists()


@pytest.mark.parametrize(
    ("named", "credits"), [("nobody", "1"), ("alice", "many"), ("alice", "-1")]
)
def test_what_is_wrong_grants_nothing(alice: User, named: str, credits: str) -> None:
    with pytest.raises(CommandError):
        grant(named, credits)
    assert not LedgerEntry.objects.exists()
