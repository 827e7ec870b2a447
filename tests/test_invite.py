"""The owner invites somebody to a project by e-mail, and takes an invitation back."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from generation.views.members import INVITATIONS_AN_HOUR
from projects.models import Invitation, Member, Project, Role

pytestmark = pytest.mark.django_db

DANA = "dana@example.com"


@pytest.fixture(autouse=True)
def nobody_has_invited_yet(db: None) -> None:
    cache.clear()


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(project: Project) -> str:
    return reverse("generation:members", args=[project.pk])


def invite(client: Client, project: Project, **form: str) -> Any:
    fields = {"email": DANA, "role": str(Role.EDITOR.value), "limit": "ask", "amount": ""}
    return client.post(page(project), fields | form)


def link_in(response: Any) -> str:
    (link,) = re.findall(r'id="link">([^<]+)<', response.content.decode())
    return str(link)


def test_an_invitation_is_mailed_and_its_link_shown_once(client: Client, project: Project) -> None:
    response = invite(client, project, limit="some", amount="12.5")
    invitation = Invitation.objects.get()
    assert (invitation.email, invitation.role, invitation.allowance) == (DANA, Role.EDITOR, 1250)
    days = (invitation.expires_at - timezone.now()).total_seconds() / 86_400
    assert 13.9 < days <= 14
    link = link_in(response)
    (sent,) = mail.outbox
    assert sent.to == [DANA]
    assert sent.subject == "alice invites you to “hladanie v psuti_nova”"
    assert link in sent.body
    token = link.rstrip("/").rpartition("/")[2]
    assert len(token) >= 43
    assert invitation.digest == hashlib.sha256(token.encode()).hexdigest()
    assert token not in client.get(page(project)).content.decode()
    assert DANA in client.get(page(project)).content.decode()


@pytest.mark.parametrize(("limit", "allowance"), [("ask", 0), ("none", None)])
def test_what_they_may_spend(
    client: Client, project: Project, limit: str, allowance: int | None
) -> None:
    invite(client, project, limit=limit, amount="5")
    assert Invitation.objects.get().allowance == allowance


def test_it_says_nothing_of_whether_there_is_an_account(
    client: Client, project: Project, charlie: User
) -> None:
    def told(email: str) -> tuple[str, str]:
        mail.outbox.clear()
        words = re.sub(r"<[^>]*>", " ", invite(client, project, email=email).content.decode())
        (sent,) = mail.outbox
        Invitation.objects.all().delete()
        texts = (words, f"{sent.subject} {sent.body}")
        return tuple(
            " ".join(re.sub(r"\S*/invitations/\S+|\S+@\S+|[A-Za-z0-9]{64}", "", text).split())
            for text in texts
        )  # type: ignore[return-value]

    assert told(charlie.email) == told("nobody@example.com")


def test_the_same_address_again_is_the_same_invitation_with_a_new_link(
    client: Client, project: Project, charlie: User
) -> None:
    first = link_in(invite(client, project))
    Invitation.objects.update(expires_at=timezone.now() - timedelta(days=1))
    second = link_in(invite(client, project, email="Dana@Example.com", role="1", limit="none"))
    invitation = Invitation.objects.get()
    assert (invitation.role, invitation.allowance, invitation.is_open) == (1, None, True)
    stranger = signed_in(charlie)
    assert stranger.get(first).status_code == 404
    assert stranger.get(second).status_code == 200


def test_a_new_link_is_one_click(client: Client, project: Project) -> None:
    invite(client, project, limit="some", amount="3.24")
    html = client.get(page(project)).content.decode()
    form = html[html.index('aria-labelledby="invited"') :]
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    assert client.post(page(project), fields).status_code == 200
    assert Invitation.objects.get().allowance == 324
    assert html.count('id="id_email"') == 1, "the visible form's label must find its field"
    assert len(mail.outbox) == 2


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"email": "dana"}, "Enter a valid email address."),
        ({"role": "3"}, "Select a valid choice."),
        ({"limit": "some"}, "Say how many credits."),
        ({"limit": "some", "amount": "-1"}, "Write a number such as"),
        ({"limit": "some", "amount": "0"}, "Say how many credits."),
    ],
)
def test_what_is_wrong_is_said(
    client: Client, project: Project, form: dict[str, str], words: str
) -> None:
    response = invite(client, project, **form)
    assert response.status_code == 422
    assert words in response.content.decode()
    assert not Invitation.objects.exists()
    assert mail.outbox == []


def test_a_name_of_two_lines_is_no_header(client: Client, project: Project) -> None:
    Project.objects.update(name="a\nBcc: all@example.com")
    invite(client, project)
    assert mail.outbox[0].subject == "alice invites you to “a Bcc: all@example.com”"


def test_a_mail_that_cannot_leave_is_said(
    client: Client, project: Project, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    response = invite(client, project)
    assert "The mail could not be sent." in response.content.decode()
    assert link_in(response)


def test_nobody_floods_others_with_mail(client: Client, project: Project) -> None:
    for n in range(INVITATIONS_AN_HOUR):
        assert invite(client, project, email=f"{n}@example.com").status_code == 200
    response = invite(client, project)
    assert response.status_code == 422
    assert "That was a lot of invitations." in response.content.decode()
    assert len(mail.outbox) == INVITATIONS_AN_HOUR


def test_taken_back_it_leads_nowhere(client: Client, project: Project, charlie: User) -> None:
    link = link_in(invite(client, project))
    address = reverse(
        "generation:invitation_take_back", args=[project.pk, Invitation.objects.get().pk]
    )
    assert client.post(address)["Location"] == page(project)
    assert signed_in(charlie).get(link).status_code == 404
    again = client.post(address, follow=True).content.decode()
    assert "It was accepted or taken back already." in again


def test_only_the_owner(project: Project, bob: User, charlie: User) -> None:
    invitation = Invitation.objects.create(project=project, email=DANA, role=1, digest="d")
    take_back = reverse("generation:invitation_take_back", args=[project.pk, invitation.pk])
    for user, status in ((bob, 403), (charlie, 404)):
        assert invite(signed_in(user), project).status_code == status
        assert signed_in(user).post(take_back).status_code == status
    assert invite(Client(), project)["Location"].startswith("/account/login/")
    assert Client().post(take_back)["Location"].startswith("/account/login/")
    assert signed_in(project.owner).get(take_back).status_code == 405
    assert Invitation.objects.get() == invitation
    assert mail.outbox == []


def test_the_page_shows_each_their_own(project: Project, bob: User, charlie: User) -> None:
    Member.objects.update(allowance=5000)
    Member.objects.create(project=project, user=User.objects.create_user("dana"), role=1)
    Invitation.objects.create(project=project, email="new@example.com", role=1, digest="d")

    def words(user: User) -> str:
        html = signed_in(user).get(page(project)).content.decode()
        return " ".join(re.sub(r"<[^>]*>", " ", html[html.index("<main") :]).split())

    owners = words(project.owner)
    assert "bob editor 0 of 50 credits spent" in owners
    assert "new@example.com" in owners
    bobs = words(bob)
    assert "alice owner bob editor 0 of 50 credits spent Leave" in bobs
    assert "new@example.com" not in bobs
    assert "Invite" not in bobs
    assert signed_in(charlie).get(page(project)).status_code == 404
    assert Client().get(page(project))["Location"].startswith("/account/login/")
