"""The owner changes what a member may do and spend, or removes them; a member leaves."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from projects.models import Member, Project, Role
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def act(name: str, user: User | None, member: Member, **form: str) -> Any:
    client = signed_in(user) if user else Client()
    fields = {f"member-{member.pk}-{field}": value for field, value in form.items()}
    args = [member.project_id] if name == "leave" else [member.project_id, member.pk]
    return client.post(reverse(f"generation:{name}", args=args), fields)


@pytest.fixture
def member(project: Project) -> Member:
    return Member.objects.get(project=project)


@pytest.mark.parametrize(
    ("form", "role", "allowance"),
    [
        ({"role": "2", "limit": "some", "amount": "50"}, Role.EDITOR, 5000),
        ({"role": "2", "limit": "ask", "amount": "50"}, Role.EDITOR, 0),
        ({"role": "1", "limit": "none"}, Role.VIEWER, None),
        ({"role": "2", "limit": "none", "amount": "10 000 or so"}, Role.EDITOR, None),
        ({"role": "1", "limit": "some", "amount": "many"}, Role.VIEWER, 0),
    ],
)
def test_role_and_allowance(
    alice: User, member: Member, form: dict[str, str], role: int, allowance: int | None
) -> None:
    assert act("member_change", alice, member, **form).status_code == 302
    member.refresh_from_db()
    assert (member.role, member.allowance) == (role, allowance)


def test_the_form_shows_what_is_set_and_posts_it(alice: User, member: Member) -> None:
    member.allowance = 324
    member.save()
    page = reverse("generation:members", args=[member.project_id])
    html = signed_in(alice).get(page).content.decode()
    form = html[html.index('class="change"') :]
    form = form[: form.index("</form>")]
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"[^>]*checked', form))
    fields |= dict(re.findall(r'type="text" name="([^"]+)" value="([^"]*)"', form))
    assert set(fields.values()) == {"2", "some", "3.24"}
    address = reverse("generation:member_change", args=[member.project_id, member.pk])
    assert signed_in(alice).post(address, fields).status_code == 302
    member.refresh_from_db()
    assert (member.role, member.allowance) == (2, 324)


def test_the_address_of_a_refused_change_leads_to_the_members(alice: User, member: Member) -> None:
    """The buttons for language and colours come back to it."""
    address = reverse("generation:member_change", args=[member.project_id, member.pk])
    response = signed_in(alice).get(address)
    assert (response.status_code, response["Location"]) == (
        302,
        reverse("generation:members", args=[member.project_id]),
    )


def test_whoever_was_signed_out_comes_back_to_the_page_and_not_to_its_button(
    member: Member,
) -> None:
    address = reverse("generation:member_change", args=[member.project_id, member.pk])
    page = reverse("generation:members", args=[member.project_id])
    login = reverse("account_login")
    for referer, lands in (
        (f"http://testserver{page}", page),
        ("https://evil.example/", "/"),
        ("", "/"),
    ):
        response = Client().post(address, {}, headers={"Referer": referer})
        assert response.status_code == 302
        where, _, query = response["Location"].partition("?")
        assert where == login
        assert parse_qs(query)["next"][0].removeprefix("http://testserver") == lands


def test_what_is_wrong_is_said_where_it_is_wrong(alice: User, member: Member) -> None:
    response = act("member_change", alice, member, role="2", limit="some", amount="many")
    assert response.status_code == 422
    html = response.content.decode()
    assert '<details class="change" open>' in html
    assert "Write a number such as" in html


def test_the_owner_sees_how_much_is_spent(alice: User, bob: User, member: Member) -> None:
    stages.give_credits(alice, 10_000)
    Member.objects.update(allowance=5000)
    scene = stages.add_scene(member.project)
    stages.done(stages.ordered(scene, bob))
    stages.ordered(scene, alice)
    page = reverse("generation:members", args=[member.project_id])
    words = re.sub(r"<[^>]*>", " ", signed_in(alice).get(page).content.decode())
    assert "6.5 of 50 credits spent" in words
    assert "6.5 credits spent" in words


def test_a_removed_member_is_a_stranger_and_their_pictures_stay(
    alice: User, bob: User, member: Member
) -> None:
    stages.give_credits(alice, 1000)
    scene = stages.add_scene(member.project)
    stages.done(stages.ordered(scene, bob))
    assert act("member_remove", alice, member).status_code == 302
    board = reverse("generation:board", args=[member.project_id])
    assert signed_in(bob).get(board).status_code == 404
    assert scene.takes.count() == 1


def test_a_member_leaves(bob: User, member: Member) -> None:
    assert act("leave", bob, member)["Location"] == reverse("projects:list")
    assert not Member.objects.exists()


def test_an_owner_cannot_leave(alice: User, member: Member) -> None:
    assert act("leave", alice, member).status_code == 302
    assert Member.objects.get() == member


def test_a_member_of_another_project_is_not_there(alice: User, member: Member) -> None:
    other = Project.objects.create(owner=alice, name="Other")
    for name in ("member_change", "member_remove"):
        address = reverse(f"generation:{name}", args=[other.pk, member.pk])
        assert signed_in(alice).post(address).status_code == 404
    assert Member.objects.get() == member


@pytest.mark.parametrize("name", ["member_change", "member_remove", "leave"])
def test_only_those_who_may(bob: User, charlie: User, member: Member, name: str) -> None:
    form = {"role": "1", "limit": "none"}
    assert act(name, charlie, member, **form).status_code == 404
    assert act(name, None, member, **form)["Location"].startswith("/account/login/")
    if name != "leave":
        assert act(name, bob, member, **form).status_code == 403
    args = [member.project_id] if name == "leave" else [member.project_id, member.pk]
    only_posted = 403 if name == "member_change" else 405
    assert signed_in(bob).get(reverse(f"generation:{name}", args=args)).status_code == only_posted
    member.refresh_from_db()
    assert member.role == Role.EDITOR
