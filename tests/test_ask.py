"""An editor asks the owner for what the allowance does not cover, and takes it back."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from credits import ledger
from generation import asks
from generation.models import Ask, Generation, ImageSettings, Operation, Price
from generation.wishes import OrderRefused, Wish
from projects.models import Character, Member, Project, Role, Scene
from tests import stages
from tests.open_page import OpenPage, part_of
from tests.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

HTMX = {"HX-Request": "true"}
PRICE = 600


@pytest.fixture
def scene(project: Project) -> Scene:
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k")
    Member.objects.update(allowance=0)
    stages.give_credits(project.owner, 100_000)
    return stages.add_scene(project, "12A")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def ask(user: User, subject: Scene | Character, *, htmx: bool = True, price: int = PRICE) -> Any:
    address = reverse("generation:ask", args=[subject._meta.model_name, subject.pk])
    form = {"price": str(price), "on": "board"}
    return signed_in(user).post(address, form, headers=HTMX if htmx else {})


def take_back(user: User, found: Ask) -> Any:
    address = reverse("generation:ask_take_back", args=[found.pk])
    return signed_in(user).post(address, {"on": "board"}, headers=HTMX)


def test_an_ask_holds_nothing(scene: Scene, alice: User, bob: User) -> None:
    response = ask(bob, scene)
    assert response.status_code == 200
    found = Ask.objects.get()
    assert (found.member.user, found.subject, found.price, found.answer) == (bob, scene, PRICE, "")
    assert not Generation.objects.exists()
    assert ledger.ledger_of(alice).held == 0
    html = response.content.decode()
    assert "Asked alice for 6 credits" in html
    assert "Ask alice<" not in html


def test_the_button_is_enough(scene: Scene, bob: User) -> None:
    board = signed_in(bob).get(reverse("generation:board", args=[scene.project_id]))
    html = board.content.decode()
    address = reverse("generation:ask", args=["scene", scene.pk])
    form = html[html.index(f'action="{address}"') :]
    fields = dict(re.findall(r'name="(key|price|on)" value="(\w+)"', form[: form.index("</form>")]))
    assert signed_in(bob).post(address, fields, headers=HTMX).status_code == 200
    assert Ask.objects.exists()


def test_the_same_twice_is_one_ask(scene: Scene, bob: User) -> None:
    ask(bob, scene)
    ask(bob, scene)
    Price.objects.filter(model__model_id="seedream-3.0/2k").update(credits=700)
    ask(bob, scene, price=700)
    assert Ask.objects.get().price == 700
    ask(bob, stages.add_character(scene.project), price=700)
    assert Ask.objects.count() == 2


def test_another_price_is_shown_again_instead(scene: Scene, bob: User) -> None:
    response = ask(bob, scene, price=500)
    assert response.status_code == 409
    assert "The price has changed: it is 6 credits now." in response.content.decode()
    assert not Ask.objects.exists()


def test_who_need_not_ask_is_told(scene: Scene, alice: User, bob: User) -> None:
    Member.objects.update(allowance=PRICE)
    for user in (alice, bob):
        response = ask(user, scene)
        assert response.status_code == 409
        assert "you can order this yourself" in response.content.decode()
    assert not Ask.objects.exists()


def test_what_cannot_be_ordered_cannot_be_asked_for(scene: Scene, bob: User) -> None:
    Scene.objects.update(description="")
    assert ask(bob, scene).status_code == 422
    assert not Ask.objects.exists()


def test_without_script_the_answer_is_the_page(scene: Scene, bob: User) -> None:
    response = ask(bob, scene, htmx=False)
    board = reverse("generation:board", args=[scene.project_id])
    assert response["Location"] == f"{board}#scene-{scene.pk}"


def test_it_can_be_taken_back(scene: Scene, bob: User) -> None:
    ask(bob, scene)
    html = take_back(bob, Ask.objects.get()).content.decode()
    assert "Ask alice" in html
    assert not Ask.objects.exists()


def test_what_was_answered_cannot_be_taken_back(scene: Scene, bob: User) -> None:
    ask(bob, scene)
    found = Ask.objects.get()
    asks.decline(found, "")
    assert "It has been answered already." in take_back(bob, found).content.decode()
    assert Ask.objects.exists()


def test_the_queue_tells_what_became_of_it(scene: Scene, bob: User) -> None:
    def queue() -> str:
        html = signed_in(bob).get(reverse("generation:queue")).content.decode()
        return " ".join(re.sub(r"<[^>]*>", " ", html).split())

    ask(bob, scene)
    assert "12A Scéna 12A hladanie v psuti_nova Waiting for alice" in queue()
    asks.decline(Ask.objects.get(), "Too dark")
    assert "alice declined. “Too dark”" in queue()
    ask(bob, scene)
    asks.approve(Ask.objects.get(answer=""), PRICE)
    assert "alice approved" in queue()
    Ask.objects.update(answered_at=timezone.now() - timedelta(days=4))
    assert "alice approved" not in queue(), "no news any more"


def test_a_no_stands_on_the_card_until_the_next_order(scene: Scene, alice: User, bob: User) -> None:
    def card() -> str:
        return str(part_of(signed_in(bob), scene).content.decode())

    ask(bob, scene)
    board = OpenPage(signed_in(bob), reverse("generation:board", args=[scene.project_id]))
    assert board.ask().status_code == 204
    asks.decline(Ask.objects.get(), "Too dark")
    assert f"scene-{scene.pk}" in board.changed()
    assert "alice declined. “Too dark”" in card()
    assert "Ask alice" in card()
    stages.ordered(scene, alice)
    assert "alice declined" not in card()


def test_a_wish_of_any_kind_can_be_asked_for(scene: Scene, alice: User, bob: User) -> None:
    """Prepared again from what was written down, it is the same order."""
    take, other = stages.add_take(scene), stages.add_take(scene)
    wish = Wish(
        project=scene.project,
        subject=scene,
        prompt="Make it night",
        model="google/nano-banana-edit",
        operation=Operation.EDIT,
        source=take,
        references=(other,),
    )
    price = asks.orders.prepare(wish).quote.credits
    found = asks.ask(wish, bob, price)
    assert asks.ask(wish, bob, price) == found
    order = asks.approve(found, price)
    assert (order.operation, order.source, order.prompt) == ("edit", take, "Make it night")
    assert order.model.model_id == "google/nano-banana-edit"
    assert [r.take for r in order.references.order_by("position")] == [take, other]
    gone = stages.add_take(scene)
    again = asks.ask(replace(wish, references=(gone,)), bob, price)
    gone.delete()
    with pytest.raises(OrderRefused, match="not there any more"):
        asks.approve(again, price)
    assert Ask.objects.get(pk=again.pk).answer == ""


def test_only_those_who_may(scene: Scene, bob: User, charlie: User) -> None:
    dana = User.objects.create_user("dana")
    Member.objects.create(project=scene.project, user=dana, role=Role.VIEWER, allowance=0)
    for user, status in ((dana, 403), (charlie, 404)):
        assert ask(user, scene).status_code == status
    address = reverse("generation:ask", args=["scene", scene.pk])
    assert Client().post(address)["Location"].startswith("/account/login/")
    assert signed_in(bob).get(address).status_code == 405
    assert signed_in(bob).post(address).status_code == 400
    assert not Ask.objects.exists()
    ask(bob, scene)
    found = Ask.objects.get()
    for user, status in ((scene.project.owner, 403), (dana, 403), (charlie, 404)):
        assert take_back(user, found).status_code == status
    address = reverse("generation:ask_take_back", args=[found.pk])
    assert Client().post(address)["Location"].startswith("/account/login/")
    assert Ask.objects.get() == found


@pytest.mark.django_db(transaction=True)
def test_eight_clicks_at_once_are_one_ask(scene: Scene, bob: User) -> None:
    wish = Wish(project=scene.project, subject=scene)
    found = at_once([lambda: asks.ask(wish, bob, PRICE)] * 8)
    assert found == [Ask.objects.get()] * 8
