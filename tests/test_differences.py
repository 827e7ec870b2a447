"""Differences with KIE on the staff's site: found, read, settled with a note."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from generation.models import BalanceSample, Difference, Generation
from projects.models import Project
from tests import stages
from tests.test_admin import list_of, page_of, text

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

HOUR = timedelta(hours=1)


@pytest.fixture
def at_admin(staff: User, client: Client) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def helper() -> Callable[..., Client]:
    """The browser of somebody of staff who may only do what is named."""

    def browser(*permissions: str) -> Client:
        user = User.objects.create_user("helper", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    return browser


@pytest.fixture
def order(project: Project) -> Generation:
    """KIE took 8 credits for it; 6.5 were booked."""
    stages.give_credits(project.owner, 10_000)
    order = stages.ordered(stages.add_scene(project))
    stages.done(order)
    Difference.objects.create(generation=order, booked=650, used=800)
    return order


def of_the_account(booked: int = 650, used: int = 1250) -> Difference:
    now = timezone.now()
    since = BalanceSample.objects.create(account="kie", at=now - HOUR, credits=100_000)
    until = BalanceSample.objects.create(account="kie", at=now, credits=100_000 - used)
    return Difference.objects.create(since=since, until=until, booked=booked, used=used)


def settle(browser: Client, *rows: Difference, **form: str) -> Any:
    """From the list: the rows that are ticked."""
    ticked = {"action": "settle", "_selected_action": [row.pk for row in rows], "select_across": 0}
    return browser.post(list_of(Difference), ticked | form)


def test_a_difference_of_an_order_leads_to_it(at_admin: Client, order: Generation) -> None:
    row = Difference.objects.get()
    listed = text(at_admin.get(list_of(Difference)))
    assert order.pk in listed
    assert "+1.5" in listed
    page = text(at_admin.get(page_of(row)))
    assert "KIE took 8 credits for this order; 6.5 credits were booked." in page
    assert page_of(order) in page
    assert f"task-{order.pk}" in page


def test_a_difference_of_the_account_leads_to_its_balances(
    at_admin: Client, order: Generation
) -> None:
    row = of_the_account()
    lost = stages.lost(stages.ordered(order.scene))  # type: ignore[arg-type]
    Generation.objects.filter(pk=lost.pk).update(submitted_at=timezone.now() - HOUR / 2)
    page = text(at_admin.get(page_of(row)))
    assert "The balance fell by 12.5 credits and our orders explain 6.5 credits: 6 credits" in page
    assert page_of(lost) in page
    assert page_of(row.since) in page
    balances = text(at_admin.get(list_of(BalanceSample)))
    assert "987.5" in balances
    assert page_of(row) in balances
    assert page_of(row) in text(at_admin.get(page_of(row.until)))


def test_what_is_open_and_what_is_settled(at_admin: Client, order: Generation) -> None:
    first, second = Difference.objects.get(), of_the_account()
    settle(at_admin, second, note="A trial by hand")

    def listed(**query: str) -> set[int]:
        page = text(at_admin.get(list_of(Difference), query))
        return {row.pk for row in (first, second) if page_of(row) in page}

    assert listed() == {first.pk, second.pk}
    assert listed(settled="no") == {first.pk} == listed(about="order")
    assert listed(settled="yes") == {second.pk} == listed(about="account")
    assert listed(settled="nonsense", about="nonsense") == listed()
    assert listed(q=order.pk) == {first.pk} == listed(q=f"task-{order.pk}")
    assert listed(q="by hand") == {second.pk}


def test_one_is_settled_on_its_page(at_admin: Client, order: Generation) -> None:
    row = Difference.objects.get()
    address = page_of(row, "settle")
    assert address in text(at_admin.get(page_of(row)))
    assert "6.5 credits were booked" in text(at_admin.get(address))
    assert "This field is required" in text(at_admin.post(address, {"note": "  "}))
    assert Difference.objects.open().exists()
    assert at_admin.post(address, {"note": "Dearer since May"}).url == page_of(row)  # type: ignore[attr-defined]
    row.refresh_from_db()
    assert row.note == "Dearer since May"
    assert row.settled_at is not None
    assert LogEntry.objects.get().get_change_message() == "Settled: Dearer since May"
    assert address not in text(at_admin.get(page_of(row)))


def test_many_are_settled_with_one_note(at_admin: Client, order: Generation) -> None:
    rows = [Difference.objects.get(), of_the_account()]
    asked = text(settle(at_admin, *rows))
    assert 'name="note"' in asked
    assert "The note is kept with 2 open differences." in asked
    for row in rows:
        assert f'<input type="hidden" name="_selected_action" value="{row.pk}"' in asked
    assert "This field is required" in text(settle(at_admin, *rows, note=""))
    assert Difference.objects.open().count() == 2
    done = settle(at_admin, *rows, note="Dearer since May")
    assert "2 differences are settled." in text(at_admin.get(done.url))
    assert not Difference.objects.open().exists()
    assert LogEntry.objects.count() == 2


def test_what_is_settled_keeps_its_note(at_admin: Client, order: Generation) -> None:
    row = Difference.objects.get()
    settle(at_admin, row, note="First")
    settle(at_admin, row, note="Second")
    assert Difference.objects.get().note == "First"
    assert LogEntry.objects.count() == 1


def test_who_may_only_look_settles_nothing(
    helper: Callable[..., Client], order: Generation
) -> None:
    row = Difference.objects.get()
    browser = helper("view_difference")
    assert page_of(row, "settle") not in text(browser.get(page_of(row)))
    assert browser.post(page_of(row, "settle"), {"note": "x"}).status_code == 403
    settle(browser, row, note="x")
    assert Difference.objects.open().exists()


def test_the_first_page_counts_them(
    at_admin: Client, helper: Callable[..., Client], order: Generation
) -> None:
    of_the_account()
    address = f"{list_of(Difference)}?settled=no"
    assert f'<a href="{address}">Open differences with KIE</a> <b>2</b>' in text(
        at_admin.get(reverse("admin:index"))
    )
    assert address not in text(helper("view_generation").get(reverse("admin:index")))
