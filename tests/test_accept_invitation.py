"""The page of an invitation: for whoever holds its link, or has its address, once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from projects.members import NotAccepted, accept, invite
from projects.models import Invitation, Member, Project, Role
from tests.threads import at_once

pytestmark = pytest.mark.django_db

CHARLIE = "charlie@example.com"


@pytest.fixture
def token(project: Project) -> str:
    return invite(project, CHARLIE, Role.EDITOR, 5000)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def address(key: str | int) -> str:
    return reverse("projects:invitation", args=[key])


def answer(user: User, key: str | int, do: str = "accept") -> Any:
    return signed_in(user).post(address(key), {"do": do})


def confirmed(user: User, email: str = CHARLIE) -> None:
    EmailAddress.objects.create(user=user, email=email, verified=True)


def test_who_holds_the_link_becomes_a_member(project: Project, charlie: User, token: str) -> None:
    html = signed_in(charlie).get(address(token)).content.decode()
    assert "alice invites you to “hladanie v psuti_nova”" in html
    assert "alice pays for your pictures up to 50 credits" in html
    board = reverse("generation:board", args=[project.pk])
    assert signed_in(charlie).get(board).status_code == 404
    assert answer(charlie, token)["Location"] == board
    member = Member.objects.get(user=charlie)
    assert (member.project, member.role, member.allowance) == (project, Role.EDITOR, 5000)
    assert signed_in(charlie).get(board).status_code == 200


def test_the_link_leads_who_accepted_it_to_the_board(charlie: User, token: str) -> None:
    board = answer(charlie, token)["Location"]
    assert signed_in(charlie).get(address(token))["Location"] == board
    Member.objects.filter(user=charlie).delete()
    assert signed_in(charlie).get(address(token)).status_code == 404, "used is used"


def test_it_is_for_one_person(charlie: User, token: str) -> None:
    answer(charlie, token)
    dana = User.objects.create_user("dana")
    assert answer(dana, token).status_code == 404
    assert not Member.objects.filter(user=dana).exists()


def test_the_address_alone_is_enough_once_it_is_confirmed(charlie: User, token: str) -> None:
    invitation = Invitation.objects.get()
    home = reverse("projects:list")
    assert "invites you" not in signed_in(charlie).get(home).content.decode()
    assert answer(charlie, invitation.pk).status_code == 404
    confirmed(charlie)
    html = signed_in(charlie).get(home).content.decode()
    assert f'href="{address(invitation.pk)}"' in html
    assert answer(charlie, invitation.pk).status_code == 302
    assert Member.objects.filter(user=charlie).exists()
    assert "invites you" not in signed_in(charlie).get(home).content.decode()


def test_an_address_that_was_only_written_down_is_not_enough(token: str) -> None:
    liar = User.objects.create_user("liar", CHARLIE)
    EmailAddress.objects.create(user=liar, email=CHARLIE, verified=False)
    assert answer(liar, Invitation.objects.get().pk).status_code == 404
    assert not Member.objects.filter(user=liar).exists()


def test_after_two_weeks_it_is_too_late(charlie: User, token: str) -> None:
    confirmed(charlie)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for key in (token, Invitation.objects.get().pk):
        assert answer(charlie, key).status_code == 404
    assert not Member.objects.filter(user=charlie).exists()


@pytest.mark.parametrize("key", ["nothing", "1", "٣", "9" * 40, "a" * 300])
def test_what_never_was_is_answered_like_what_is_over(charlie: User, token: str, key: str) -> None:
    response = signed_in(charlie).get(address(key))
    assert response.status_code == 404
    assert "This invitation is not valid" in response.content.decode()


def test_declined_it_is_gone(charlie: User, token: str) -> None:
    assert answer(charlie, token, "decline").status_code == 302
    assert not Invitation.objects.exists()
    assert not Member.objects.filter(user=charlie).exists()


def test_members_and_the_owner_do_not_use_it_up(alice: User, bob: User, token: str) -> None:
    for user in (alice, bob):
        assert answer(user, token).status_code == 302
        with pytest.raises(NotAccepted):
            accept(Invitation.objects.get(), user)
    assert Invitation.objects.get().is_open


def test_it_needs_somebody_who_is_signed_in(token: str) -> None:
    response = Client().get(address(token))
    assert response["Location"] == f"/account/login/?next={address(token)}"
    login = Client().get(response["Location"]).content.decode()
    assert f"/account/signup/?next=%2Finvitations%2F{token}" in login, "the way goes on from there"
    assert Client().post(address(token), {"do": "accept"}).status_code == 302
    assert Invitation.objects.get().is_open


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_gets_in(project: Project) -> None:
    invite(project, CHARLIE, Role.EDITOR, None)
    invitation = Invitation.objects.select_related("project").get()
    people = [User.objects.create_user(f"user{n}") for n in range(4)]

    def come(user: User) -> str:
        try:
            return str(accept(invitation, user).user)
        except NotAccepted:
            return "too late"

    came = sorted(at_once([partial(come, user) for user in people]), key=str)
    assert came[:3] == ["too late"] * 3
    assert came[3] in [user.username for user in people]
    assert Member.objects.filter(user__in=people).count() == 1
