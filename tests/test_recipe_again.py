"""A take's recipe ordered once more, as it was or changed, at the price of now."""

from __future__ import annotations

import html as entities
import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from generation.asks import approve
from generation.models import Ask, Generation, ImageSettings, KieModel, Operation, Price
from projects.models import Character, Member, Scene, Take
from tests import stages
from tests.test_board import signed_in
from tests.test_rework import offered, picked, price_on_button, words

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

LITE, SEEDREAM = "nano-banana-2-lite", "seedream-3.0/2k"


@pytest.fixture
def client(alice: User) -> Client:
    stages.give_credits(alice, 100_000)
    return signed_in(alice)


@pytest.fixture
def scene(project: Any, client: Client) -> Scene:
    ImageSettings.objects.create(project=project, model=LITE, scene_aspect_ratio="4:3")
    scene = stages.add_scene(project, "12A")
    scene.cast.add(stages.add_character(project))
    return scene


@pytest.fixture
def take(scene: Scene) -> Take:
    return stages.done(stages.ordered(scene))


def address(take: Take) -> str:
    return reverse("generation:rework", args=[take.pk, "generate"])


def page(client: Client, take: Take) -> str:
    answer = client.get(address(take))
    assert answer.status_code == 200
    return str(answer.content.decode())


def as_filled(html: str, **changed: Any) -> dict[str, Any]:
    """What the form would send as it stands, with what a person changes."""
    prompt = re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", html, re.DOTALL)
    assert prompt
    return {
        "prompt": entities.unescape(prompt[1]),
        "model": picked(html, "model")[0],
        "aspect_ratio": picked(html, "aspect_ratio"),
        "resolution": picked(html, "resolution"),
        "references": picked(html, "references"),
        "price": price_on_button(html),
        "key": uuid4().hex,
        **changed,
    }


def test_one_click_orders_exactly_the_same(client: Client, take: Take, scene: Scene) -> None:
    before = Generation.objects.get()
    # The project, the scene and the cast went on; the recipe is what it was.
    ImageSettings.objects.update(model=SEEDREAM, scene_aspect_ratio="1:1")
    Scene.objects.update(description="Something else")
    stages.add_take(scene.cast.get())
    html = page(client, take)
    assert "The recipe of take 1" in words(html)
    assert client.post(address(take), as_filled(html)).status_code == 302
    after = Generation.objects.exclude(pk=before.pk).get()
    assert after.request == before.request
    for name in ("prompt", "model", "aspect_ratio", "resolution", "operation", "scene", "price"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.source is None
    assert [r.take for r in after.references.all()] == [r.take for r in before.references.all()]
    new = stages.done(after)
    assert new.scene == scene


def test_a_changed_copy_changes_nothing_else(client: Client, take: Take, scene: Scene) -> None:
    html = page(client, take)
    form = as_filled(html, prompt="Dunes in snow", aspect_ratio="1:1", references=[])
    assert client.post(address(take), form).status_code == 302
    order = Generation.objects.order_by("created_at").last()
    assert order
    assert order.request["input"]["prompt"] == "Dunes in snow"
    assert order.aspect_ratio == "1:1"
    assert not order.references.exists()
    scene.refresh_from_db()
    assert scene.description == "Duny"


def test_the_price_is_that_of_now(client: Client, take: Take) -> None:
    html = page(client, take)
    Price.objects.filter(model__model_id=LITE).update(credits=900)
    answer = client.post(address(take), as_filled(html))
    assert answer.status_code == 409
    assert "The price has changed" in words(answer.content.decode())
    assert Generation.objects.count() == 1
    assert price_on_button(page(client, take)) == "900"


def test_a_model_that_is_switched_off_gives_way(client: Client, take: Take) -> None:
    new = KieModel.objects.get(model_id=SEEDREAM)
    KieModel.objects.filter(model_id=LITE).update(is_active=False, replacement=new)
    html = page(client, take)
    assert (
        "Nano Banana 2 Lite, which made this take, is switched off. Seedream 3.0 (2K) is chosen in "
        "its place." in words(html)
    )
    assert picked(html, "model") == [SEEDREAM]
    assert picked(html, "aspect_ratio") == ["4:3"]
    answer = client.post(address(take), as_filled(html, model=LITE))
    assert answer.status_code == 422
    assert Generation.objects.count() == 1


def test_one_without_a_replacement_gives_way_too(client: Client, take: Take) -> None:
    KieModel.objects.filter(model_id=LITE).update(is_active=False)
    html = page(client, take)
    assert "which made this take, is switched off" in words(html)
    assert picked(html, "model") != [LITE]


def test_a_double_click_is_one_order(client: Client, take: Take) -> None:
    form = as_filled(page(client, take))
    for _ in range(2):
        assert client.post(address(take), form).status_code == 302
    assert Generation.objects.count() == 2  # with the first


def test_without_words_it_says_what_is_missing(client: Client, take: Take) -> None:
    answer = client.post(address(take), as_filled(page(client, take), prompt=" "))
    assert answer.status_code == 422
    assert "There are no words to make a picture from." in answer.content.decode()


def test_the_number_of_a_picture_is_its_number_in_the_prompt(client: Client, take: Take) -> None:
    html = page(client, take)
    assert "The prompt names them by their numbers: image 1" in words(html)
    assert "image 1 Miro" in words(html)
    assert "(image 1)" in as_filled(html)["prompt"]


def test_every_model_that_makes_pictures_from_words_is_offered(client: Client, take: Take) -> None:
    html = page(client, take)
    models = set(offered(html, "model"))
    assert {LITE, SEEDREAM} <= models
    assert "recraft/crisp-upscale" not in models
    assert 'name="mask"' not in html


def test_a_characters_take_has_its_recipe(client: Client, scene: Scene) -> None:
    miro = Character.objects.get()
    take = stages.done(stages.ordered(miro))
    assert client.post(address(take), as_filled(page(client, take))).status_code == 302
    order = Generation.objects.order_by("created_at").last()
    assert order and order.character == miro


@pytest.mark.parametrize("which", ["uploaded", "upscaled"])
def test_what_was_not_made_from_words_has_no_such_page(
    client: Client, scene: Scene, which: str
) -> None:
    take = stages.add_take(scene)
    if which == "upscaled":
        order = stages.reworked(take, Operation.UPSCALE, model="recraft/crisp-upscale")
        take = stages.done(order)
    assert client.get(address(take)).status_code == 404
    assert client.post(address(take)).status_code == 404


def test_a_work_leads_to_its_own_page(client: Client, scene: Scene) -> None:
    source = stages.add_take(scene)
    order = stages.reworked(source, Operation.UPSCALE, model="recraft/crisp-upscale")
    stages.done(order)
    html = client.get(reverse("generation:subject", args=["scene", scene.pk])).content.decode()
    again = f"{reverse('generation:rework', args=[source.pk, 'upscale'])}?again={order.pk}"
    assert f'href="{again}"' in html


def test_who_may(take: Take, bob: User, charlie: User) -> None:
    assert signed_in(bob).get(address(take)).status_code == 200
    assert signed_in(charlie).get(address(take)).status_code == 404
    assert Client().get(address(take)).status_code == 302


def test_beyond_the_allowance_the_payer_is_asked(client: Client, take: Take, bob: User) -> None:
    Member.objects.filter(user=bob).update(allowance=0)
    other = signed_in(bob)
    html = page(other, take)
    assert "Ask alice" in words(html)
    form = as_filled(html, prompt="Dunes in snow", ask="yes")
    assert other.post(address(take), form).status_code == 302
    assert "Asked alice for 4 credits" in words(page(other, take))
    assert Generation.objects.count() == 1
    ask = Ask.objects.get()
    order = approve(ask, ask.price)
    assert order.request["input"]["prompt"] == "Dunes in snow"
    assert order.references.count() == 1
    assert "Asked alice" not in words(page(other, take))


def test_no_more_queries_for_more_models_and_takes(
    client: Client, take: Take, scene: Scene
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            page(client, take)
        return len(found)

    queries()
    few = queries()
    model = KieModel.objects.get(model_id=LITE)
    for number in range(5):
        stages.add_take(scene)
        scene.cast.add(stages.add_character(scene.project, f"Person {number}"))
        model.pk, model.model_id = None, f"copy/{number}"
        model.save()
        Price.objects.create(model=model, credits=5000, cost=1)
    assert queries() == few
