"""Making an account, and what it begins with."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from credits import invariants, ledger
from credits.models import CreditLedger

pytestmark = pytest.mark.django_db

FORM = {
    "username": "dana",
    "email": "dana@example.com",
    "password1": "sedem-dun-a-studna",
    "password2": "sedem-dun-a-studna",
}


def sign_up(client: Client, **changes: str) -> int:
    return client.post("/account/signup/", FORM | changes).status_code


def test_it_signs_in_and_begins_with_nothing(client: Client) -> None:
    assert sign_up(client) == 302
    assert client.get("/").context["user"].username == "dana"
    assert CreditLedger.objects.get().balance == 0


def test_the_sites_welcome_is_booked_once(client: Client, settings: Any) -> None:
    settings.WELCOME_CREDITS = 30
    assert sign_up(client) == 302
    book = ledger.ledger_of(User.objects.get(username="dana"))
    assert (book.balance, book.held) == (3000, 0)
    assert book.entries.get().description == "Welcome"
    assert invariants.violations() == []


def test_a_name_or_an_address_signs_in(client: Client, alice: User) -> None:
    for login in ("alice", "alice@example.com"):
        client.logout()
        answer = client.post("/account/login/", {"login": login, "password": "alice"})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/")
