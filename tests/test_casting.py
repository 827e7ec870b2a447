"""Whose picture goes along with a scene, as it is told before the click."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from generation import orders, steps
from generation.flow import flow
from generation.models import ImageSettings, KieModel
from generation.orders import Wish
from projects.models import Character, Project, Scene
from tests import stages
from tests.test_api import post, program_of
from tests.test_rework import client, words

__all__ = ["client"]  # fixture

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

BANANA, NEEDY = "nano-banana-2", "ideogram/character"


@pytest.fixture
def scene(project: Project) -> Scene:
    """With Miro, who has a picture, and Zuza, who has none."""
    stages.give_credits(project.owner, 10_000)
    scene = stages.add_scene(project)
    miro = stages.add_character(project)
    zuza = Character.objects.create(project=project, name="Zuza", description="Small")
    scene.cast.set([miro, zuza])
    use(project, BANANA)
    return scene


def use(project: Project, model: str) -> None:
    ImageSettings.objects.update_or_create(project=project, defaults={"model": model})


def page(client: Client, name: str, *args: str) -> str:
    return str(client.get(reverse(f"generation:{name}", args=args)).content.decode())


def told(client: Client, scene: Scene) -> str:
    """What the page of the scene says of what will be sent."""
    html = words(page(client, "subject", "scene", scene.pk))
    return html[html.index("What will be sent") :]


def test_the_scenes_page_says_whose_picture_goes_along(client: Client, scene: Scene) -> None:
    html = page(client, "subject", "scene", scene.pk)
    miro = scene.cast.get(name="Miro").takes.get()
    assert reverse("projects:thumbnail", args=[miro.pk]) in html
    assert "Miro image 1" in words(html)
    assert "Zuza no picture yet" in words(html)
    assert f"take:{miro.pk}" in html
    assert "“take:…” stands for the address" in html


def test_a_model_that_takes_no_pictures_says_so(client: Client, scene: Scene) -> None:
    use(scene.project, "seedream-3.0/2k")
    assert "Miro in words Z Zuza no picture yet Seedream 3.0 (2K) takes no pictures" in told(
        client, scene
    )
    assert "stands for the address" not in told(client, scene)


def test_a_model_that_takes_fewer_says_so(client: Client, scene: Scene) -> None:
    scene.cast.add(stages.add_character(scene.project, "Bodo"))
    use(scene.project, NEEDY)
    said = told(client, scene)
    assert "Miro image 1" in said
    assert "Bodo in words" in said
    assert "takes 1 picture at most, and 2 of the cast have one" in said


def test_at_a_resolution_without_pictures(client: Client, scene: Scene) -> None:
    use(scene.project, "wan/2-7-image-pro")
    ImageSettings.objects.update(scene_resolution="4K")
    assert "takes no pictures at 4K" in told(client, scene)


@pytest.mark.parametrize("on", ["board", "subject"])
def test_a_model_that_finds_nobody_leads_to_what_helps(
    client: Client, scene: Scene, on: str
) -> None:
    def there() -> str:
        args = [scene.project_id] if on == "board" else ["scene", scene.pk]
        return page(client, on, *args)

    use(scene.project, NEEDY)
    miro, zuza = scene.cast.get(name="Miro"), scene.cast.get(name="Zuza")
    scene.cast.remove(miro)
    html = there()
    assert "needs a reference picture" in words(html)
    assert "Give Zuza a picture" in words(html)
    assert reverse("projects:character_upload", args=[zuza.pk]) in html
    scene.cast.clear()
    html = there()
    assert "Add a character" in words(html)
    assert reverse("projects:scene_edit", args=[scene.pk]) in html
    scene.cast.add(miro)
    assert "Generate image" in words(there())


def test_for_a_character_another_model_helps(client: Client, scene: Scene) -> None:
    use(scene.project, NEEDY)
    miro = scene.cast.get(name="Miro")
    html = page(client, "subject", "character", miro.pk)
    assert "Choose another model" in words(html)
    assert reverse("generation:settings", args=[scene.project_id]) in html


# The flow page


def test_the_flow_says_whose_picture_goes_along(client: Client, scene: Scene) -> None:
    html = words(page(client, "flow", scene.project_id))
    assert "Miro image 1 Z Zuza no picture yet" in html
    assert "the pictures that go along are uploaded to KIE" in html
    assert "image_input // pictures of the cast: image 1: Miro" in html


@pytest.mark.parametrize("model", ["wan/2-7-image", "nano-banana-2-lite", NEEDY])
def test_every_field_is_explained(scene: Scene, model: str) -> None:
    use(scene.project, model)
    found = flow(Project.objects.get())
    assert found.order
    (text,) = [code.text for step in found.steps for code in step.codes if " // " in code.text][:1]
    explained = {line.split("  //")[0] for line in steps._fields(found.order).splitlines()}
    assert set(found.order.request["input"]) <= explained, text


def test_the_order_of_a_program_is_the_same_order(scene: Scene, alice: User) -> None:
    order = orders.prepare(Wish(project=scene.project, subject=scene))
    body = steps.api_body(order)
    assert body["referenceImages"] == [scene.cast.get(name="Miro").takes.get().pk]
    assert post(program_of(alice), body).status_code == 202
    placed = scene.generations.get()
    assert placed.request == order.request


def test_why_nobody_goes_along_is_told_where_nothing_can_be_ordered(
    client: Client, scene: Scene
) -> None:
    KieModel.objects.filter(model_id=BANANA).update(is_active=False)
    html = words(page(client, "flow", scene.project_id))
    assert "Nothing would be ordered." in html


def test_no_more_queries_for_a_larger_cast(client: Client, scene: Scene) -> None:
    def queries() -> list[int]:
        counts = []
        for name, args in (
            ("subject", ["scene", scene.pk]),
            ("flow", [scene.project_id]),
            ("board", [scene.project_id]),
        ):
            page(client, name, *args)
            with CaptureQueriesContext(connection) as found:
                page(client, name, *args)
            counts.append(len(found))
        return counts

    few = queries()
    for number in range(4):
        scene.cast.add(stages.add_character(scene.project, f"Person {number}"))
    assert queries() == few
