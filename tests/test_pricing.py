"""What an order costs: the rows in force, how many pictures, what goes along, who pays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from credits.models import LedgerEntry
from generation import lifecycle, orders
from generation.models import Generation, KieModel, Multiplier
from generation.pricing import NoPrice, percent_for, quote
from generation.wishes import OrderRefused, Wish
from projects.models import Project
from tests import stages


@pytest.fixture
def model(db: None) -> KieModel:
    model = KieModel.objects.create(model_id="m", name="M", vendor="V", resolutions={"2K": "2K"})
    model.prices.create(
        resolution="2K", credits=324, cost=16_200, reference_credits=50, reference_cost=2_500
    )
    return model


def test_a_picture_costs_its_price_in_force(model: KieModel) -> None:
    now = timezone.now()
    model.prices.create(resolution="2K", credits=900, cost=1, since=now + timedelta(hours=1))
    model.prices.create(resolution="2K", credits=100, cost=1, since=now - timedelta(days=1))
    assert quote(model, "2K").credits == 324
    model.prices.create(resolution="2K", credits=400, cost=20_000)
    assert (quote(model, "2K").credits, quote(model, "2K").cost) == (400, 20_000)


def test_without_a_price_nothing_can_be_ordered(model: KieModel) -> None:
    with pytest.raises(NoPrice):
        quote(model, "4K")


def test_each_picture_and_each_reference_costs(model: KieModel) -> None:
    four = quote(model, "2K", count=4)
    assert (four.kie_credits, four.cost) == (4 * 324, 4 * 16_200)
    assert quote(model, "2K", references=3).kie_credits == 324 + 150
    model.prices.update(free_references=1)
    assert quote(model, "2K", references=3).kie_credits == 324 + 100
    assert quote(model, "2K", references=0).cost == 16_200


def test_what_a_multiplier_leaves_below_a_hundredth_is_rounded_up(model: KieModel) -> None:
    assert quote(model, "2K", percent=150).credits == 486
    assert quote(model, "2K", percent=101).credits == 328  # 327.24
    assert quote(model, "2K", percent=1).credits == 4  # 3.24
    assert quote(model, "2K", percent=150).kie_credits == 324


def test_whose_multiplier_holds(alice: User, bob: User) -> None:
    now = timezone.now()
    assert percent_for(alice) == 100
    Multiplier.objects.create(percent=120, since=now - timedelta(days=2))
    Multiplier.objects.create(percent=999, since=now + timedelta(days=1))
    assert (percent_for(alice), percent_for(None)) == (120, 120)
    Multiplier.objects.create(payer=alice, percent=80, since=now - timedelta(days=1))
    assert (percent_for(alice), percent_for(bob), percent_for(None)) == (80, 120, 120)
    Multiplier.objects.create(payer=alice, percent=None)  # back to the site's
    assert percent_for(alice) == 120


@pytest.mark.usefixtures("catalogue")
def test_button_hold_and_charge_are_the_payers_price(project: Project, bob: User) -> None:
    """Bob clicks, Alice pays, by her multiplier."""
    Multiplier.objects.create(payer=project.owner, percent=150)
    Multiplier.objects.create(payer=bob, percent=500)
    stages.give_credits(project.owner, 2000)
    scene = stages.add_scene(project)
    order = stages.ordered(scene, bob)
    assert (order.price, order.kie_credits) == (975, 650)
    stages.done(order)
    hold, charge = LedgerEntry.objects.filter(ledger__owner=project.owner).order_by("pk")[1:]
    assert (hold.held_change, charge.balance_change, charge.real_cost) == (975, -975, 32_500)


@pytest.mark.usefixtures("catalogue")
def test_a_multiplier_that_changed_is_shown_again_instead_of_charged(project: Project) -> None:
    stages.give_credits(project.owner, 2000)
    wish = Wish(project=project, subject=stages.add_scene(project))
    shown = orders.prepare(wish).quote.credits
    Multiplier.objects.create(percent=110)
    terms = orders.Terms(project.owner, "k", shown_price=shown)
    with pytest.raises(OrderRefused) as refused:
        orders.place(orders.prepare(wish), terms)
    assert (refused.value.code, refused.value.status) == ("price_changed", 409)
    assert not Generation.objects.exists()


@pytest.mark.usefixtures("catalogue")
def test_an_order_keeps_the_price_that_it_was_quoted(project: Project) -> None:
    stages.give_credits(project.owner, 2000)
    order = stages.ordered(stages.add_scene(project))
    order.model.prices.create(resolution="", credits=5000, cost=1)
    Multiplier.objects.create(percent=300)
    stages.done(order)
    assert -LedgerEntry.objects.get(kind="capture").balance_change == order.price == 650


@given(price=st.integers(1, 10**9), count=st.integers(1, 99), came=st.integers(1, 200))
def test_a_part_is_charged_for_the_pictures_that_came(price: int, count: int, came: int) -> None:
    charge = lifecycle.charge_for(Generation(price=price, count=count), came)
    assert 0 < charge <= price
    assert came < count or charge == price
    assert 0 <= charge * count - price * min(came, count) < count  # rounded up to a hundredth
