"""How many of our credits a KIE credit costs: rows that are added, and orders that keep theirs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from credits import ledger
from credits.models import LedgerEntry
from generation.models import Generation, KieModel, Multiplier, Price
from generation.pricing import percent_for
from projects.models import Scene
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

LIST = "/admin/generation/multiplier/"
ADD = f"{LIST}add/"


@pytest.fixture
def scene(project: Any) -> Scene:
    stages.give_credits(project.owner, 10_000)
    return stages.add_scene(project)


def row(**values: Any) -> dict[str, Any]:
    return {"payer": "", "percent": "", "since_0": "", "since_1": ""} | values


def errors(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.context["adminform"].form.errors)


def test_for_the_site_and_for_one_who_pays(at_admin: Client, alice: User, bob: User) -> None:
    at_admin.post(ADD, row(percent="120"))
    at_admin.post(ADD, row(percent="80", payer=alice.pk))
    assert [percent_for(user) for user in (alice, bob, None)] == [80, 120, 120]
    at_admin.post(ADD, row(payer=alice.pk))
    assert percent_for(alice) == 120
    assert Multiplier.objects.count() == LogEntry.objects.count() == 3


def test_it_may_begin_later(at_admin: Client) -> None:
    at_admin.post(ADD, row(percent="200", since_0="2999-01-01", since_1="00:00"))
    assert Multiplier.objects.get().percent == 200
    assert percent_for(None) == 100


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "The site needs a number."),
        ({"percent": "0"}, "greater than or equal to 1"),
        ({"percent": "100001"}, "less than or equal to 100000"),
        ({"percent": "-5"}, "greater than or equal to"),
        ({"percent": "120", "since_0": "2020-01-01", "since_1": "00:00"}, "begin in the past"),
        ({"percent": "120", "payer": "999999"}, "valid choice"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    at_admin: Client, values: dict[str, str], words: str
) -> None:
    assert words in errors(at_admin.post(ADD, row(**values)))
    assert not Multiplier.objects.exists()


def test_it_is_never_changed_or_deleted(at_admin: Client) -> None:
    one = Multiplier.objects.create(percent=120)
    page = reverse("admin:generation_multiplier_change", args=[one.pk])
    assert at_admin.get(page).status_code == 200
    assert at_admin.post(page, row(percent="1")).status_code == 403
    delete = reverse("admin:generation_multiplier_delete", args=[one.pk])
    assert at_admin.post(delete, {"post": "yes"}).status_code == 403
    at_admin.post(LIST, {"action": "delete_selected", "_selected_action": one.pk, "post": "yes"})
    assert Multiplier.objects.get().percent == 120


def test_only_who_may_adds(helper: Callable[..., Client]) -> None:
    assert helper("view_multiplier").post(ADD, row(percent="120")).status_code == 403
    assert not Multiplier.objects.exists()


def test_the_list_says_which_hold(at_admin: Client, alice: User) -> None:
    now = timezone.now()
    past = Multiplier.objects.create(percent=110, since=now - timedelta(days=2))
    site = Multiplier.objects.create(percent=120, since=now - timedelta(days=1))
    later = Multiplier.objects.create(percent=130, since=now + timedelta(days=1))
    own = Multiplier.objects.create(payer=alice, percent=None, since=now - timedelta(days=3))
    rows = {r.pk: r for r in at_admin.get(LIST).context["cl"].result_list}
    holding = {pk for pk, r in rows.items() if r.holding == pk}
    assert holding == {site.pk, own.pk}
    assert {past.pk, later.pk} < rows.keys()
    html = at_admin.get(LIST).content.decode()
    assert "the whole site" in html
    assert "120 %" in html


def test_a_longer_list_asks_no_more(at_admin: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            at_admin.get(LIST)
        return len(captured)

    def grow(count: int) -> None:
        for _ in range(count):
            payer = User.objects.create_user(uuid4().hex[:8])
            Multiplier.objects.create(payer=payer, percent=90)

    grow(2)
    queries()
    few = queries()
    grow(6)
    assert queries() == few


def test_it_stands_on_the_payers_ledger(at_admin: Client, alice: User) -> None:
    own = ledger.ledger_of(alice)
    Multiplier.objects.create(payer=alice, percent=80)
    page = reverse("admin:credits_creditledger_change", args=[own.pk])
    html = at_admin.get(page).content.decode()
    assert "Multiplier: 80 %" in html
    assert f'href="{LIST}?q=alice"' in html


# What was shown, ordered and held stays


def button(scene: Scene) -> dict[str, Any]:
    """What the button on the board would send."""
    client = Client()
    client.force_login(scene.project.owner)
    html = client.get(reverse("generation:board", args=[scene.project_id])).content.decode()
    inputs = {}
    for name in ("key", "price"):
        inputs[name] = html.split(f'name="{name}" value="')[1].split('"')[0]
    return inputs


def click(scene: Scene, sent: dict[str, Any]) -> Any:
    client = Client()
    client.force_login(scene.project.owner)
    address = reverse("generation:generate", args=["scene", scene.pk])
    return client.post(address, sent, headers={"HX-Request": "true"})


def dearer_price() -> None:
    model = KieModel.objects.get(model_id="seedream/4.5-text-to-image")
    for name in model.price_names:
        Price.objects.create(model=model, resolution=name, credits=1300, cost=65_000)


def dearer_site() -> None:
    Multiplier.objects.create(percent=200)


def dearer_payer() -> None:
    Multiplier.objects.create(payer=User.objects.get(username="alice"), percent=200)


CHANGES = pytest.mark.parametrize("change", [dearer_price, dearer_site, dearer_payer])


@CHANGES
def test_a_price_that_changed_is_shown_again_instead_of_charged(
    scene: Scene, change: Callable[[], None]
) -> None:
    sent = button(scene)
    assert sent["price"] == "650"
    change()
    answer = click(scene, sent)
    assert answer.status_code == 409
    assert "it is 13 credits now" in answer.content.decode()
    assert not Generation.objects.exists()
    assert not LedgerEntry.objects.filter(kind="hold").exists()
    sent = button(scene)
    assert sent["price"] == "1300"
    assert click(scene, sent).status_code == 200
    assert ledger.ledger_of(scene.project.owner).held == 1300


@CHANGES
def test_what_is_ordered_costs_what_was_shown(scene: Scene, change: Callable[[], None]) -> None:
    click(scene, button(scene))
    order = Generation.objects.get()
    change()
    stages.done(order)
    charge = LedgerEntry.objects.get(kind="capture")
    assert (order.price, -charge.balance_change, charge.real_cost) == (650, 650, 32_500)
