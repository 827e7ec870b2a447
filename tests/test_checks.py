"""The system checks: each speaks when it should, and only then."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from pytest_django import Settings

from generation import checks

REAL = "a-real-key"
PUBLIC = "https://studio.example"


@pytest.fixture
def production(settings: Settings) -> Settings:
    """A site in production as it should be."""
    settings.DEBUG = False
    configure(settings, key=REAL, public_url=PUBLIC)
    settings.KIE_WEBHOOK_KEY = "hmac"
    settings.ALLOWED_HOSTS = ["studio.example"]
    settings.SIGNUP_OPEN = True
    settings.WELCOME_CREDITS = 0
    return settings


def configure(settings: Settings, *, key: str, public_url: str) -> None:
    settings.KIE_API_KEY = key
    settings.KIE_IS_SANDBOX = not key
    settings.PUBLIC_URL = public_url
    settings.PUBLIC_IS_HTTPS = public_url.startswith("https://")


def found() -> list[str]:
    messages = [*checks.site_settings(), *checks.deployed_settings()]
    assert all(message.hint for message in messages)
    return ids(messages)


def ids(messages: Iterable[object]) -> list[str]:
    return [str(message.id).removeprefix("imagegen.") for message in messages]  # type: ignore[attr-defined]


def test_production_as_it_should_be_is_quiet(production: Settings) -> None:
    assert found() == []


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:8000"])
def test_make_run_is_quiet(production: Settings, address: str) -> None:
    """No key, no public address, whatever the rest."""
    configure(production, key="", public_url=address)
    production.KIE_WEBHOOK_KEY = ""
    production.ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
    production.WELCOME_CREDITS = 50
    assert found() == []


def test_a_developer_with_a_key_hears_nothing_before_deploying(production: Settings) -> None:
    configure(production, key=REAL, public_url="")
    assert checks.site_settings() == []
    assert found() == ["W002"]


def test_the_sandbox_on_a_public_site(production: Settings) -> None:
    configure(production, key="", public_url=PUBLIC)
    assert found() == ["W001"]
    production.DEBUG = True
    assert found() == []


@pytest.mark.parametrize(
    "address",
    [
        "https://localhost:8000",
        "https://studio.localhost",
        "https://10.1.2.3",
        "https://127.0.0.1:8000",
        "https://169.254.1.1",
        "https://[::1]:8000",
        "https://nas.local",
        "https://studio",
        "http://studio.example",
    ],
)
def test_an_address_that_kie_cannot_reach_or_not_safely(production: Settings, address: str) -> None:
    configure(production, key=REAL, public_url=address)
    production.ALLOWED_HOSTS = ["*"]
    assert found() == ["W003"]
    configure(production, key="", public_url=address)
    assert "W003" not in found()  # the sandbox is on this side


def test_public_numbers_and_names_are_fine(production: Settings) -> None:
    production.ALLOWED_HOSTS = ["*"]
    for address in ("https://93.184.215.14", "https://a.studio.example:8443"):
        configure(production, key=REAL, public_url=address)
        assert found() == []


def test_free_credits_for_every_new_account(production: Settings) -> None:
    production.WELCOME_CREDITS = 10
    assert found() == ["W004"]
    production.SIGNUP_OPEN = False
    assert found() == []


def test_callbacks_without_a_signature(production: Settings) -> None:
    production.KIE_WEBHOOK_KEY = ""
    assert found() == ["W005"]


def test_a_host_that_is_not_allowed(production: Settings) -> None:
    production.ALLOWED_HOSTS = ["localhost"]
    assert found() == ["W006"]
    production.ALLOWED_HOSTS = [".example"]
    assert found() == []


def test_they_are_registered_the_last_three_for_deploying_only() -> None:
    from django.core.checks.registry import registry

    assert checks.site_settings in registry.registered_checks
    assert checks.deployed_settings in registry.deployment_checks
