"""A person's own pages: signing in and up, the account, API tokens, theme and language."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import pytest
from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from django.contrib.auth.models import User
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils.translation import override

from projects.access import issue_token, user_of_token
from projects.models import ApiToken

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_memory_of_earlier_tries() -> None:
    """allauth counts tries in the cache."""
    cache.clear()


BEFORE = [
    "account_login",
    "account_signup",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key_done",
    "account_inactive",
    "account_email_verification_sent",
]
INSIDE = [
    "account_logout",
    "account_email",
    "account_change_password",
    "account_reauthenticate",
    "projects:tokens",
]


def is_ours(html: str) -> bool:
    """In our frame, with one heading, and with nothing that the CSP would refuse."""
    refused = re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*(src=|application/json))", html)
    return 'class="topbar"' in html and html.count("<h1>") == 1 and not refused


class TestPages:
    @pytest.mark.parametrize("name", BEFORE)
    def test_before_somebody_is_in(self, client: Client, name: str) -> None:
        answer = client.get(reverse(name))
        assert answer.status_code == HTTPStatus.OK
        assert is_ours(answer.content.decode())

    @pytest.mark.parametrize("name", INSIDE)
    def test_inside(self, client: Client, alice: User, name: str) -> None:
        client.force_login(alice)
        answer = client.get(reverse(name))
        assert answer.status_code == HTTPStatus.OK
        assert is_ours(answer.content.decode())

    @pytest.mark.parametrize("name", INSIDE)
    def test_inside_is_for_people_who_are_in(self, client: Client, name: str) -> None:
        assert client.get(reverse(name)).status_code == HTTPStatus.FOUND

    def test_links_from_letters(self, client: Client, alice: User) -> None:
        address = EmailAddress.objects.create(user=alice, email=alice.email)
        confirm = reverse("account_confirm_email", args=[EmailConfirmationHMAC(address).key])
        assert is_ours(client.get(confirm).content.decode())
        assert is_ours(client.get(reverse("account_confirm_email", args=["x"])).content.decode())
        key = f"{user_pk_to_url_str(alice)}-{default_token_generator.make_token(alice)}"
        reset = client.get(f"/account/password/reset/key/{key}/", follow=True)
        assert is_ours(reset.content.decode())
        assert b"password1" in reset.content
        stale = client.get("/account/password/reset/key/1-x/", follow=True)
        assert is_ours(stale.content.decode())

    def test_set_password(self, client: Client, alice: User) -> None:
        alice.set_unusable_password()
        alice.save()
        client.force_login(alice)
        assert is_ours(client.get(reverse("account_set_password")).content.decode())

    def test_sign_up_closed(self, client: Client, settings: Any) -> None:
        settings.SIGNUP_OPEN = False
        answer = client.get(reverse("account_signup"))
        assert is_ours(answer.content.decode())
        assert b'<input type="password"' not in answer.content

    def test_errors_are_bound_to_their_fields(self, client: Client) -> None:
        answer = client.post(reverse("account_signup"), {"username": "", "email": "no"})
        html = answer.content.decode()
        for name in ("username", "email", "password1"):
            field = re.search(rf"<input[^>]*name=\"{name}\"[^>]*>", html)
            assert field
            assert 'aria-invalid="true"' in field[0]
            assert f"id_{name}_error" in field[0]
            assert f'id="id_{name}_error"' in html

    def test_sign_up_sign_out_sign_in(self, client: Client) -> None:
        secret = "dlhé-tiene-na-piesku"
        client.post(
            reverse("account_signup"),
            {
                "username": "zuzana",
                "email": "z@example.com",
                "password1": secret,
                "password2": secret,
            },
        )
        assert client.get("/").status_code == HTTPStatus.OK
        client.post(reverse("account_logout"))
        assert client.get("/").status_code == HTTPStatus.FOUND
        client.post(reverse("account_login"), {"login": "z@example.com", "password": secret})
        assert client.get("/").status_code == HTTPStatus.OK

    def test_forgotten_password_sends_a_letter(self, client: Client, alice: User) -> None:
        client.post(reverse("account_reset_password"), {"email": alice.email})
        assert [letter.to for letter in mail.outbox] == [[alice.email]]


class TestTokens:
    address = "/account/tokens/"

    def test_shown_once_and_works(self, client: Client, alice: User) -> None:
        client.force_login(alice)
        answer = client.post(self.address, {"name": "Edit suite"})
        secret = answer.context["secret"]
        assert secret in answer.content.decode()
        assert "no-store" in answer["Cache-Control"]
        assert user_of_token(secret) == alice
        assert secret not in client.get(self.address).content.decode()
        assert secret not in str(ApiToken.objects.values())

    @pytest.mark.parametrize("name", ["", "x" * 101, "\x00"])
    def test_bad_names(self, client: Client, alice: User, name: str) -> None:
        client.force_login(alice)
        answer = client.post(self.address, {"name": name})
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert not ApiToken.objects.exists()

    def test_others_tokens_are_neither_shown_nor_revoked(
        self, client: Client, alice: User, bob: User
    ) -> None:
        secret = issue_token(alice, "Alice's own")
        revoke = reverse("projects:token_revoke", args=[ApiToken.objects.get().pk])
        client.force_login(bob)
        assert "Alice&#x27;s own" not in client.get(self.address).content.decode()
        assert client.post(revoke).status_code == HTTPStatus.NOT_FOUND
        assert user_of_token(secret) == alice
        client.force_login(alice)
        assert "Alice&#x27;s own" in client.get(self.address).content.decode()
        assert client.get(revoke).status_code == HTTPStatus.METHOD_NOT_ALLOWED
        assert client.post(revoke)["Location"] == self.address
        assert user_of_token(secret) is None

    def test_anonymous_revokes_nothing(self, client: Client, alice: User) -> None:
        issue_token(alice, "Edit suite")
        revoke = reverse("projects:token_revoke", args=[ApiToken.objects.get().pk])
        assert client.post(revoke)["Location"].startswith(reverse("account_login"))
        assert ApiToken.objects.exists()


class TestThemeAndLanguage:
    def theme(self, client: Client) -> str:
        html = client.get(reverse("account_login")).content.decode()
        found = re.search(r'<html[^>]*data-theme="(\w*)"', html)
        return found[1] if found else ""

    def test_theme_is_rendered_by_the_server(self, client: Client) -> None:
        address = reverse("projects:theme")
        assert self.theme(client) == ""
        client.post(address, {"theme": "light"})
        assert self.theme(client) == "light"
        client.post(address, {"theme": "dark"})
        assert self.theme(client) == "dark"
        client.post(address, {"theme": "system"})
        assert self.theme(client) == ""

    def test_foreign_values_never_reach_the_page(self, client: Client) -> None:
        client.post(reverse("projects:theme"), {"theme": 'x" onload="'})
        assert self.theme(client) == ""
        client.cookies["theme"] = "purple"
        assert self.theme(client) == ""

    def test_goes_back_where_it_came_from_but_only_here(self, client: Client) -> None:
        address = reverse("projects:theme")
        assert client.post(address, {"next": "/queue/"})["Location"] == "/queue/"
        assert client.post(address, {"next": "//evil.example"})["Location"] == "/"
        assert client.get(address).status_code == HTTPStatus.METHOD_NOT_ALLOWED

    def test_slovak(self, client: Client) -> None:
        with override("en"):  # a request leaves its language behind in this thread
            client.post("/language/setlang/", {"language": "sk", "next": "/account/login/"})
            html = client.get(reverse("account_login")).content.decode()
        assert '<html lang="sk"' in html
        assert "Prihlásiť sa" in html
