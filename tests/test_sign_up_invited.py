"""Where strangers make no accounts, the link of an invitation makes one: its holder's, once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from credits import ledger
from projects.members import invite
from projects.models import Invitation, Member, Project, Role
from tests.threads import at_once

pytestmark = pytest.mark.django_db

DANA = "dana@example.com"
PASSWORD = "sedem-dun-a-studna"
FORM = {"username": "dana", "password1": PASSWORD, "password2": PASSWORD}
PAGE = "/account/signup/"


@pytest.fixture(autouse=True)
def closed(settings: Any) -> None:
    settings.SIGNUP_OPEN = False
    cache.clear()  # which counts who signs up how often


@pytest.fixture
def token(project: Project) -> str:
    return invite(project, DANA, Role.EDITOR, 5000)


def way_on(token: str) -> str:
    return reverse("projects:invitation", args=[token])


def look(token: str) -> str:
    query = urlencode({"next": way_on(token)})
    return Client().get(f"{PAGE}?{query}").content.decode()


def sign_up(token: str, client: Client | None = None, **form: str) -> Any:
    return (client or Client()).post(PAGE, {**FORM, "next": way_on(token), **form})


def is_closed(html: str) -> bool:
    return "Accounts are by invitation" in html and "password" not in html


def test_the_way_from_the_link_to_the_board(project: Project, token: str) -> None:
    client = Client()
    login = client.get(way_on(token))
    html = client.get(login["Location"]).content.decode()
    assert f"{PAGE}?{urlencode({'next': way_on(token)})}" in html.replace("&amp;", "&")
    html = look(token)
    assert "alice invites you to “hladanie v psuti_nova”" in html
    assert f'value="{DANA}"' in html
    answer = sign_up(token, client)
    assert (answer.status_code, answer["Location"]) == (302, way_on(token))
    board = reverse("generation:board", args=[project.pk])
    page = client.get(way_on(token), follow=True)
    assert page.redirect_chain == [(board, 302)]
    html = page.content.decode()
    assert "Welcome to “hladanie v psuti_nova”." in html
    assert "already" not in html
    member = Member.objects.get(user__username="dana")
    assert (member.project, member.role, member.allowance) == (project, Role.EDITOR, 5000)
    assert Invitation.objects.get().accepted_by == member.user


def test_the_address_is_the_invitations(token: str) -> None:
    sign_up(token, email="somebody@example.com")
    assert User.objects.get(username="dana").email == DANA
    assert not User.objects.get(username="dana").emailaddress_set.filter(verified=True).exists(), (
        "the owner has the link, too: holding it is no proof of the address"
    )


def test_it_makes_one_account(token: str) -> None:
    sign_up(token)
    assert is_closed(look(token))
    sign_up(token, username="eva", email="eva@example.com")
    assert not User.objects.filter(username="eva").exists()


def test_there_is_no_welcome_to_collect(token: str, settings: Any) -> None:
    settings.WELCOME_CREDITS = 30
    sign_up(token)
    assert ledger.ledger_of(User.objects.get(username="dana")).balance == 0


@pytest.mark.parametrize("key", ["", "nothing", "1", "a" * 43, "../", "٣"])
def test_nothing_else_opens_it(project: Project, token: str, key: str) -> None:
    ways = [f"/invitations/{key}/", key, "//evil.example/", way_on(token)[:-2]]
    ways.append(f"/invitations/{Invitation.objects.get().pk}/")
    for way in ways:
        html = Client().get(f"{PAGE}?{urlencode({'next': way})}").content.decode()
        assert is_closed(html), way
        sign_up(token, next=way, email=DANA)
    sign_up(token, next="")
    assert not User.objects.filter(username="dana").exists()


@pytest.mark.parametrize("over", ["old", "taken back", "accepted", "renewed"])
def test_what_is_over_opens_nothing(project: Project, token: str, bob: User, over: str) -> None:
    rows = Invitation.objects.all()
    if over == "old":
        rows.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif over == "taken back":
        rows.delete()
    elif over == "accepted":
        rows.update(accepted_by=bob)
    else:
        invite(project, DANA, Role.VIEWER, None)
    assert is_closed(look(token))
    sign_up(token)
    assert not User.objects.filter(username="dana").exists()


def test_a_wrong_form_uses_nothing_up(token: str) -> None:
    answer = sign_up(token, password2="another")
    assert answer.status_code == 200
    assert f'value="{DANA}"' in answer.content.decode()
    assert Invitation.objects.get().is_open
    sign_up(token)
    assert User.objects.filter(username="dana").exists()


def test_an_open_site_offers_the_address_and_leaves_the_answer_to_them(
    token: str, settings: Any
) -> None:
    settings.SIGNUP_OPEN = True
    assert f'value="{DANA}"' in look(token)
    sign_up(token, email="other@example.com")
    assert User.objects.get(username="dana").email == "other@example.com"
    assert Invitation.objects.get().is_open


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_gets_an_account(project: Project) -> None:
    token = invite(project, DANA, Role.EDITOR, None)
    names = [f"user{n}" for n in range(4)]
    at_once([partial(sign_up, token, username=name) for name in names])
    assert User.objects.filter(username__in=names).count() == 1
    assert Member.objects.filter(user__username__in=names).count() == 1
