"""What is left at KIE: asked by the workers, shown to staff, and the switch that stops ordering."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import django_rq
import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from generation import account, clock, jobs, lifecycle
from generation.kie.sandbox import Options, Sandbox
from generation.models import Account, Pause

pytestmark = pytest.mark.django_db

MODELS = "/admin/generation/kiemodel/"
ASK = "/admin/generation/kiemodel/account/ask/"


@pytest.fixture
def kie(settings: Any, valkey: object) -> Iterator[Sandbox]:
    with Sandbox(Options(port=0, seconds=0.1, rate=0, credits=1234.5, largest_edge=256)) as sandbox:
        settings.KIE_API_URL = settings.KIE_UPLOAD_URL = sandbox.url
        yield sandbox


def leave(kie: Sandbox, credits: float) -> None:
    """So much is left on the account from now on."""
    answer = requests.post(f"{kie.url}/sandbox/settings", json={"credits": credits}, timeout=5)
    answer.raise_for_status()


def ask() -> None:
    Account.objects.update(next_at=timezone.now())
    jobs.balance()


def known() -> Account:
    found = account.ours()
    assert found is not None
    return found


def rung(commit: Any) -> list[str]:
    """The steps that a tick asks for."""
    queue = django_rq.get_queue("orders")
    queue.empty()
    with commit(execute=True):
        clock.tick()
    return [job.func_name for job in queue.get_jobs()]


def page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


def account_with(credits: int | None, **facts: Any) -> None:
    from django.conf import settings

    Account.objects.create(
        provider="kie",
        address=settings.KIE_API_URL,
        credits=credits,
        answered_at=timezone.now() if credits is not None else None,
        **facts,
    )


# Asking


def test_the_tick_has_it_asked_every_five_minutes(
    kie: Sandbox, django_capture_on_commit_callbacks: Any
) -> None:
    commit = django_capture_on_commit_callbacks
    assert account.ours() is None
    assert rung(commit) == ["generation.jobs.balance"]
    jobs.balance()
    assert (known().credits, known().trouble) == (123_450, "")
    assert rung(commit) == []
    until = known().next_at - timezone.now()
    assert timedelta(minutes=4) < until <= timedelta(minutes=5)
    Account.objects.update(next_at=timezone.now())
    assert rung(commit) == ["generation.jobs.balance"]


def test_two_workers_ask_once(kie: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("generation.kie.client.Kie.credit", lambda self: asked.append(1) or 5)
    jobs.balance()
    jobs.balance()
    assert len(asked) == 1


def test_another_account_is_not_taken_for_this_one(kie: Sandbox, settings: Any) -> None:
    jobs.balance()
    with Sandbox(Options(port=0, rate=0, credits=7)) as other:
        settings.KIE_API_URL = other.url
        assert account.ours() is None
        jobs.balance()
        assert known().credits == 700
    assert Account.objects.count() == 1


def test_without_an_answer_the_last_one_stays(settings: Any, valkey: object) -> None:
    with Sandbox(Options(port=0, rate=0)) as gone:
        settings.KIE_API_URL = gone.url
        jobs.balance()
    before = known()
    ask()
    assert (known().credits, known().answered_at) == (before.credits, before.answered_at)
    assert "could not connect" in known().trouble


def test_below_the_level_it_is_an_error_once(
    kie: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
        caplog.clear()
        return errors

    ask()
    assert said() == []
    leave(kie, 499.99)
    ask()
    assert said() == [
        "[KIE] 499.99 credits are left on the account, fewer than 500: orders will stop"
    ]
    ask()
    assert said() == []
    leave(kie, 500)
    ask()
    assert account.low() is None
    leave(kie, 1)
    ask()
    assert len(said()) == 1


# What staff see


@pytest.mark.parametrize(("credits", "is_low"), [(49_999, True), (50_000, False), (None, False)])
def test_staff_are_warned_on_every_page(
    staff: User, catalogue: None, credits: int | None, is_low: bool
) -> None:
    client = Client()
    client.force_login(staff)
    account_with(credits)
    for address in ("/", "/queue/", "/admin/", MODELS):
        html = page(client, address)
        assert ("Left on the account at KIE: 499.99 credits." in html) is is_low, address
        assert (f'<a href="{MODELS}">See the account</a>' in html) is is_low, address


def test_users_are_not(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    account_with(1)
    assert "account at KIE" not in page(client, "/queue/")


def test_the_level_is_a_setting(staff: User, settings: Any) -> None:
    settings.KIE_LOW_CREDITS = 0
    account_with(0)
    assert account.low() is None
    settings.KIE_LOW_CREDITS = 1
    assert account.low() is not None


def test_it_stands_above_the_models(at_admin: Client, catalogue: None) -> None:
    assert "What is left on it is not known yet." in page(at_admin, MODELS)
    account_with(1_234_550, trouble="could not connect: refused")
    html = page(at_admin, MODELS)
    for words in (
        "12,345.5 credits",
        "said KIE now",
        "staff are warned below 500 credits",
        "could not connect: refused",
    ):
        assert words in html, words
    assert "12,345.5 credits" in page(at_admin, "/admin/")


def test_no_page_asks_kie(at_admin: Client, catalogue: None, settings: Any) -> None:
    settings.KIE_API_URL = "http://127.0.0.1:9"  # whoever asked would fail
    for address in (MODELS, "/admin/"):
        assert "not known yet" in page(at_admin, address) or address == "/admin/"
    assert not Account.objects.exists()


def test_staff_have_it_asked_now(
    at_admin: Client, kie: Sandbox, catalogue: None, django_capture_on_commit_callbacks: Any
) -> None:
    jobs.balance()
    leave(kie, 99)
    assert ASK in page(at_admin, MODELS)
    with django_capture_on_commit_callbacks(execute=True):
        assert at_admin.post(ASK).status_code == 302
    (job,) = django_rq.get_queue("orders").get_jobs()
    assert job.func_name == "generation.jobs.balance"
    jobs.balance()
    assert known().credits == 9900


def test_only_who_may_change_models_has_it_asked(
    helper: Callable[..., Client], catalogue: None
) -> None:
    browser = helper("view_kiemodel")
    assert ASK not in page(browser, MODELS)
    assert browser.post(ASK).status_code == 403


# The stop switch


def test_one_click_with_a_reason_stops_all_ordering(at_admin: Client, catalogue: None) -> None:
    add = reverse("admin:generation_pause_add")
    assert f'action="{add}"' in page(at_admin, MODELS)
    assert at_admin.post(add, {"provider": "kie", "why": "Strange pictures"}).status_code == 302
    assert lifecycle.is_paused("kie")
    html = page(at_admin, MODELS)
    assert "Ordering is paused" in html
    assert "Strange pictures" in html
    assert f'action="{add}"' not in html
    assert reverse("admin:generation_pause_delete", args=[Pause.objects.get().pk]) in html


def test_only_who_may_pause_has_the_switch(helper: Callable[..., Client], catalogue: None) -> None:
    html = page(helper("view_kiemodel"), MODELS)
    assert reverse("admin:generation_pause_add") not in html
