"""The owner approves or declines what members ask for, one or all."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from credits import invariants, ledger
from generation import asks, audit
from generation.models import Ask, Generation, ImageSettings, Price
from generation.wishes import Wish
from projects.models import Member, Project, Role, Scene
from tests import stages
from tests.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

PRICE = 600


@pytest.fixture
def scene(project: Project) -> Scene:
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k")
    Member.objects.update(allowance=0)
    stages.give_credits(project.owner, 2000)
    return stages.add_scene(project, "12A")


@pytest.fixture
def asked(scene: Scene, bob: User) -> Ask:
    return ask(scene, bob)


def ask(scene: Scene, user: User) -> Ask:
    return asks.ask(Wish(project=scene.project, subject=scene), user, PRICE)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def answer(user: User, do: str, *pairs: str, word: str = "", next: str = "") -> Any:
    form = {"ask": pairs, "do": do, "word": word, "next": next}
    return signed_in(user).post(reverse("generation:ask_answer"), form, follow=True)


def words(response: Any) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())


def board(user: User, project: Project) -> str:
    return words(signed_in(user).get(reverse("generation:board", args=[project.pk])))


def test_the_owner_sees_them_with_price_and_sum(scene: Scene, alice: User, bob: User) -> None:
    ask(scene, bob)
    ask(stages.add_scene(scene.project, "13"), bob)
    for told in (
        board(alice, scene.project),
        words(signed_in(alice).get(reverse("generation:queue"))),
    ):
        assert "You are asked for 2 pictures" in told
        assert "12A Scéna 12A" in told
        assert "Seedream 3.0 (2K) · 2K Approve 6 credits" in told
        assert "Approve all 12 credits" in told
        assert "2 asks wait for your answer" in told
    assert "You are asked" not in board(bob, scene.project)
    assert "wait for your answer" not in board(bob, scene.project)


def test_approved_it_is_an_order_of_the_editor_with_the_owners_credits(
    scene: Scene, alice: User, bob: User, asked: Ask
) -> None:
    response = answer(alice, "approve", f"{asked.pk}:600")
    order = Generation.objects.get()
    assert (order.ordered_by, order.payer, order.price, order.scene) == (bob, alice, PRICE, scene)
    asked.refresh_from_db()
    assert (asked.answer, asked.order) == ("approved", order)
    assert ledger.ledger_of(alice).held == PRICE
    assert "1 picture ordered: 6 credits." in words(response)
    assert invariants.violations() == audit.violations() == []


def test_it_is_ordered_as_the_scene_is_now(scene: Scene, alice: User, asked: Ask) -> None:
    Scene.objects.update(description="More, v noci")
    answer(alice, "approve", f"{asked.pk}:600")
    assert Generation.objects.get().prompt == "More, v noci"


def test_another_price_is_shown_again_instead(scene: Scene, alice: User, asked: Ask) -> None:
    Price.objects.filter(model__model_id="seedream-3.0/2k").update(credits=700)
    told = words(answer(alice, "approve", f"{asked.pk}:600"))
    assert "12A Scéna 12A: The price has changed: it is 7 credits now." in told
    assert "6 credits when it was asked for Approve 7 credits" in told
    assert not Generation.objects.exists()
    answer(alice, "approve", f"{asked.pk}:700")
    assert Generation.objects.get().price == 700


def test_twice_is_once(scene: Scene, alice: User, asked: Ask) -> None:
    answer(alice, "approve", f"{asked.pk}:600")
    told = words(answer(alice, "approve", f"{asked.pk}:600"))
    assert "taken back or answered meanwhile" in told
    assert Generation.objects.count() == 1


def test_all_at_once_as_far_as_the_credits_go(scene: Scene, alice: User, bob: User) -> None:
    many = [ask(stages.add_scene(scene.project, n), bob) for n in range(4)]
    told = words(answer(alice, "approve", *[f"{one.pk}:600" for one in many]))
    assert "3 pictures ordered: 18 credits." in told
    assert "Not enough credits" in told or "more than its payer has" in told
    assert Ask.objects.open().count() == 1
    assert ledger.ledger_of(alice).held == 1800
    assert audit.violations() == []


def test_declined_with_a_word(scene: Scene, alice: User, bob: User, asked: Ask) -> None:
    other = ask(stages.add_scene(scene.project, "13"), bob)
    answer(alice, "decline", f"{asked.pk}:0", f"{other.pk}:0", word="Later")
    assert set(Ask.objects.values_list("answer", "word")) == {("declined", "Later")}
    assert not Generation.objects.exists()
    assert "You are asked" not in board(alice, scene.project)


def test_what_cannot_be_ordered_now_is_said_and_can_only_be_declined(
    scene: Scene, alice: User, asked: Ask
) -> None:
    Scene.objects.update(description="")
    told = board(alice, scene.project)
    assert "There is no description to make a picture from." in told
    assert "Approve" not in told
    answer(alice, "approve", f"{asked.pk}:600")
    assert Ask.objects.get().answer == ""


def test_who_may_not_order_any_more_asks_in_vain(
    scene: Scene, alice: User, bob: User, asked: Ask
) -> None:
    Member.objects.update(role=Role.VIEWER)
    assert "You are asked" not in board(alice, scene.project)
    answer(alice, "approve", f"{asked.pk}:600")
    assert not Generation.objects.exists()
    Member.objects.all().delete()
    assert not Ask.objects.exists()


def test_only_the_owner(scene: Scene, bob: User, charlie: User, asked: Ask) -> None:
    for do in ("approve", "decline"):
        assert answer(bob, do, f"{asked.pk}:600").status_code == 403
        assert answer(charlie, do, f"{asked.pk}:600").status_code == 404
    address = reverse("generation:ask_answer")
    assert Client().post(address)["Location"].startswith("/account/login/")
    assert signed_in(bob).get(address).status_code == 405
    asked.refresh_from_db()
    assert asked.answer == ""


def test_of_several_none_is_answered_if_one_is_anothers(
    scene: Scene, alice: User, bob: User, charlie: User, asked: Ask
) -> None:
    other = Project.objects.create(owner=charlie, name="Other")
    member = Member.objects.create(project=other, user=bob, role=Role.EDITOR, allowance=0)
    foreign = Ask.objects.create(member=member, wish={}, digest="d", price=600)
    assert answer(alice, "approve", f"{asked.pk}:600", f"{foreign.pk}:600").status_code == 404
    assert Ask.objects.open().count() == 2


@pytest.mark.parametrize("pairs", [[], ["x"], ["x:-1"], ["x:9" + "9" * 30], ["x\x00:1"]])
def test_a_broken_button(alice: User, pairs: list[str]) -> None:
    assert answer(alice, "approve", *pairs).status_code == 400


def test_no_more_queries_when_there_are_more_asks(scene: Scene, alice: User, bob: User) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            signed_in(alice).get(reverse("generation:queue"))
        return len(captured)

    def add(number: int) -> None:
        one = stages.add_scene(scene.project, number)
        one.cast.add(stages.add_character(scene.project, f"Miro {number}"))
        ask(one, bob)

    add(1)
    few = count()
    for number in range(2, 12):
        add(number)
    assert count() == few


@pytest.mark.django_db(transaction=True)
def test_approved_twice_at_once_is_ordered_once(scene: Scene, alice: User, asked: Ask) -> None:
    def approve() -> str:
        try:
            asks.approve(asks.ask_for(alice, asked.pk), PRICE)
        except asks.NotAsked:
            return "too late"
        return "placed"

    assert sorted(at_once([approve] * 4), key=str) == ["placed"] + ["too late"] * 3
    assert Generation.objects.count() == 1
    assert ledger.ledger_of(alice).held == PRICE
    assert audit.violations() == []
