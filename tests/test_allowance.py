"""What a member may spend of the owner's credits: a budget that the books alone can tell."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.translation import override

from credits import invariants, ledger
from generation import audit, lifecycle, orders
from generation.allowance import budget_of, spent_by
from generation.models import Generation, ImageSettings, Reason, State, TakenBack
from generation.wishes import OrderRefused, Wish
from projects.access import issue_token
from projects.models import Member, Project, Scene
from tests import stages
from tests.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

PRICE = 600


@pytest.fixture
def scene(project: Project) -> Scene:
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k")
    stages.give_credits(project.owner, 100_000)
    return stages.add_scene(project, "12A")


def allow(hundredths: int | None) -> None:
    Member.objects.update(allowance=hundredths)


def spent(scene: Scene, user: User) -> int:
    return spent_by(scene.project).get(user.pk, 0)


def refusal(scene: Scene, user: User) -> OrderRefused:
    with pytest.raises(OrderRefused) as refused:
        stages.ordered(scene, user)
    return refused.value


def test_members_that_there_are_have_no_limit(scene: Scene, bob: User) -> None:
    for _ in range(3):
        stages.ordered(scene, bob)
    budget = budget_of(bob, scene.project)
    assert budget.left is None
    assert budget.covers(10**9)


def test_what_is_beyond_it_is_refused_and_nothing_is_held(
    scene: Scene, alice: User, bob: User
) -> None:
    allow(2 * PRICE + 100)
    stages.ordered(scene, bob)
    stages.ordered(scene, bob)
    refused = refusal(scene, bob)
    assert (refused.code, refused.status) == ("allowance", 402)
    assert refused.words == (
        "This costs 6 credits, and your allowance has 1 credit left. Ask alice."
    )
    assert ledger.ledger_of(alice).held == 2 * PRICE
    assert Generation.objects.count() == 2
    stages.ordered(scene, alice)  # the owner has no limit
    assert budget_of(bob, scene.project).left == 100


@pytest.mark.parametrize(("left", "amount"), [(400, "4 kredity"), (550, "5,5 kreditu")])
def test_the_refusal_declines_its_amounts(scene: Scene, bob: User, left: int, amount: str) -> None:
    allow(left)
    with override("sk"):
        words = refusal(scene, bob).words
    assert words.startswith(f"Toto stojí 6 kreditov a v limite máte ešte {amount}. ")


def test_nothing_by_themselves(scene: Scene, bob: User) -> None:
    allow(0)
    assert refusal(scene, bob).code == "allowance"


@pytest.mark.parametrize("end", ["cancelled", "failed", "lost", "taken back", "thrown away"])
def test_what_brings_nothing_is_there_again(scene: Scene, bob: User, end: str) -> None:
    allow(PRICE)
    order = stages.ordered(scene, bob)
    assert spent(scene, bob) == PRICE
    if end == "cancelled":
        assert lifecycle.cancel(order)
    elif end == "failed":
        stages.failed(order, Reason.RENDER)
    elif end == "lost":
        stages.lost(order)
    else:
        then = TakenBack.KEEP if end == "taken back" else TakenBack.DISCARD
        assert lifecycle.take_back(stages.running(order), then)
    assert spent(scene, bob) == 0
    stages.ordered(scene, bob)


def test_a_late_free_picture_is_not_spent(scene: Scene, bob: User) -> None:
    order = stages.running(stages.ordered(scene, bob))
    assert lifecycle.take_back(order, TakenBack.KEEP)
    stages.arrive(order)
    assert order.state == State.DONE
    assert spent(scene, bob) == 0


def test_a_part_that_was_charged_counts_as_that(scene: Scene, bob: User) -> None:
    ImageSettings.objects.update(model="qwen2/text-to-image")
    wish = Wish(project=scene.project, subject=scene)
    order = orders.prepare(wish)
    terms = orders.Terms(user=bob, key=uuid4().hex)
    generation = orders.drawn_up(order, terms)
    generation.count = 4
    generation.price = 4 * PRICE
    lifecycle.place([generation])
    assert spent(scene, bob) == 4 * PRICE
    stages.done(generation)  # one of four
    assert spent(scene, bob) == PRICE


def test_other_projects_and_other_payers_are_another_matter(
    scene: Scene, alice: User, bob: User
) -> None:
    allow(PRICE)
    stages.give_credits(bob, 10_000)
    stages.ordered_alone(bob)
    own = stages.add_scene(Project.objects.create(owner=bob, name="Bob's"))
    stages.ordered(own, bob)
    assert spent(scene, bob) == 0
    stages.ordered(scene, bob)
    assert spent(scene, bob) == PRICE


def test_the_same_click_again_is_the_order_that_stands(scene: Scene, bob: User) -> None:
    allow(PRICE)
    order = orders.prepare(Wish(project=scene.project, subject=scene))
    terms = orders.Terms(user=bob, key="k")
    assert orders.place(order, terms) == orders.place(order, terms)


def test_a_program_is_told(scene: Scene, bob: User) -> None:
    allow(0)
    token = {"Authorization": f"Bearer {issue_token(bob, 'test')}"}
    response = Client(headers=token).post(
        reverse("generation:api_image"), {"sceneId": scene.pk}, "application/json"
    )
    assert response.status_code == 402
    assert response.json()["error"]["code"] == "allowance"


def test_the_button_says_whom_to_ask(scene: Scene, alice: User, bob: User) -> None:
    def board(user: User) -> str:
        client = Client()
        client.force_login(user)
        html = client.get(reverse("generation:board", args=[scene.project_id])).content.decode()
        return " ".join(re.sub(r"<[^>]*>", " ", html).split())

    assert "Generate image 6 credits alice pays" in board(bob)
    allow(PRICE)
    assert "Generate image 6 credits alice pays" in board(bob)
    assert "6 left of your 6 credits" in board(bob)
    stages.ordered(stages.add_scene(scene.project, "2"), bob)
    assert "Ask alice 6 credits" in board(bob)
    assert "Generate image" not in board(bob)
    assert "Generate image 6 credits" in board(alice)
    assert "you pay" in board(alice)


@pytest.mark.django_db(transaction=True)
def test_eight_clicks_at_once_do_not_overspend_it(scene: Scene, alice: User, bob: User) -> None:
    allow(3 * PRICE)
    order = orders.prepare(Wish(project=scene.project, subject=scene))

    def click() -> str:
        try:
            orders.place(order, orders.Terms(user=bob, key=uuid4().hex))
        except OrderRefused as refused:
            return refused.code
        return "placed"

    assert sorted(at_once([click] * 8), key=str) == ["allowance"] * 5 + ["placed"] * 3
    assert ledger.ledger_of(alice).held == spent(scene, bob) == 3 * PRICE
    assert invariants.violations() == audit.violations() == []
