"""Members, invitations and asks as staff see them: in credits, taken back while they are open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from generation import asks
from generation.models import Ask
from generation.wishes import Wish
from projects.members import invite
from projects.models import Invitation, Member, Project, Role
from tests import stages
from tests.test_admin import list_of, page_of, text

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

DANA = "dana@example.com"


def delete(client: Client, thing: Any) -> int:
    return client.post(page_of(thing, "delete"), {"post": "yes"}).status_code


def delete_selected(client: Client, *things: Any) -> Any:
    form = {
        "action": "delete_selected",
        "_selected_action": [thing.pk for thing in things],
        "post": "yes",
    }
    return client.post(list_of(type(things[0])), form)


def project_form(member: Member, **fields: str) -> dict[str, str]:
    """The project's form as its page sends it, with this one member."""
    project = member.project
    form = {
        "name": project.name,
        "owner": str(project.owner_id),
        "style": "",
        "members-TOTAL_FORMS": "1",
        "members-INITIAL_FORMS": "1",
        "members-0-id": str(member.pk),
        "members-0-project": project.pk,
        "members-0-user": str(member.user_id),
        "members-0-role": str(member.role),
        "members-0-allowance": "",
        "image_settings-TOTAL_FORMS": "0",
        "image_settings-INITIAL_FORMS": "0",
    }
    return form | {f"members-0-{name}": value for name, value in fields.items()}


@pytest.fixture
def member(project: Project) -> Member:
    Member.objects.update(allowance=1250)
    return Member.objects.select_related("project").get()


def test_an_allowance_is_written_in_credits(at_admin: Client, member: Member) -> None:
    page = text(at_admin.get(page_of(member.project)))
    assert 'name="members-0-allowance" value="12.5"' in page
    assert "Hundredths" not in page
    for said, allowance in (("50", 5000), ("0", 0), ("", None), ("3.24", 324)):
        form = project_form(member, allowance=said)
        assert at_admin.post(page_of(member.project), form).status_code == 302
        member.refresh_from_db()
        assert member.allowance == allowance


@pytest.mark.parametrize("said", ["-1", "1.234", "much"])
def test_what_is_no_amount_changes_nothing(at_admin: Client, member: Member, said: str) -> None:
    form = project_form(member, allowance=said)
    assert "Write a number such as" in text(at_admin.post(page_of(member.project), form))
    member.refresh_from_db()
    assert member.allowance == 1250


@pytest.mark.parametrize(
    ("allowance", "words"),
    [(1250, "12.5 credits"), (0, "asks for every picture"), (None, "without limit")],
)
def test_who_only_looks_sees_credits_too(
    helper: Callable[..., Client], member: Member, allowance: int | None, words: str
) -> None:
    Member.objects.update(allowance=allowance)
    page = text(helper("view_project", "view_member").get(page_of(member.project)))
    assert words in page
    assert "1250" not in page


def test_an_invitation_is_revoked_and_its_link_never_shown(
    at_admin: Client, project: Project
) -> None:
    token = invite(project, DANA, Role.EDITOR, 1250)
    invitation = Invitation.objects.get()
    for page in (text(at_admin.get(list_of(Invitation))), text(at_admin.get(page_of(invitation)))):
        assert DANA in page and "12.5 credits" in page and "open" in page
        assert token not in page and invitation.digest not in page
    assert at_admin.get(list_of(Invitation) + "add/").status_code == 403
    assert at_admin.post(page_of(invitation), {"email": "x@example.com"}).status_code == 403
    assert delete(at_admin, invitation) == 302
    assert not Invitation.objects.exists()


def test_what_was_accepted_is_not_revoked(at_admin: Client, project: Project, bob: User) -> None:
    accepted = Invitation.objects.create(
        project=project, email=DANA, role=1, digest="a", accepted_by=bob
    )
    waits = Invitation.objects.create(project=project, email=DANA, role=1, digest="w")
    assert delete(at_admin, accepted) == 403
    delete_selected(at_admin, accepted)
    assert Invitation.objects.count() == 2
    delete_selected(at_admin, accepted, waits)
    assert Invitation.objects.get() == accepted
    told = text(at_admin.get(list_of(Invitation)))
    assert told.count("1 of them has been answered and stays.") == 2
    assert "Successfully deleted 1 invitation." in told
    assert "accepted by bob" in text(at_admin.get(list_of(Invitation), {"state": "accepted"}))
    assert "0 invitations" in text(at_admin.get(list_of(Invitation), {"state": "open"}))


@pytest.fixture
def ask(project: Project, bob: User) -> Ask:
    stages.give_credits(project.owner, 10_000)
    Member.objects.update(allowance=0)
    take = stages.add_take(stages.add_scene(project, "12A"))
    wish = Wish(
        project=project,
        subject=take.scene,
        prompt="Make it night",
        model="google/nano-banana-edit",
        operation="edit",  # type: ignore[arg-type]
        source=take,
    )
    return asks.ask(wish, bob, asks.orders.prepare(wish).quote.credits)


def test_an_ask_is_told_and_taken_back(at_admin: Client, ask: Ask) -> None:
    page = text(at_admin.get(list_of(Ask)))
    for told in ("12A Scéna 12A · Edit", "bob, of alice", "waiting"):
        assert told in page
    assert "Make it night" in text(at_admin.get(page_of(ask)))
    assert at_admin.get(list_of(Ask) + "add/").status_code == 403
    assert delete(at_admin, ask) == 302
    assert not Ask.objects.exists()


def test_an_answered_ask_stays(at_admin: Client, ask: Ask) -> None:
    asks.decline(ask, "Too dark")
    assert delete(at_admin, ask) == 403
    delete_selected(at_admin, ask)
    assert "Too dark" in text(at_admin.get(page_of(ask)))
    for wanted, rows in (("none", 0), ("declined", 1), ("approved", 0)):
        found = at_admin.get(list_of(Ask), {"answer": wanted}).context["cl"].result_list
        assert len(found) == rows


def test_staff_need_the_permission(helper: Callable[..., Client], ask: Ask) -> None:
    invite(ask.member.project, DANA, Role.VIEWER, None)
    browser = helper("view_ask", "view_invitation")
    for thing in (ask, Invitation.objects.get()):
        text(browser.get(page_of(thing)))
        assert delete(browser, thing) == 403
