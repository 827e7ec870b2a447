"""A take that was made from another one shows which, wherever it is shown."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from generation.models import Generation, Operation
from projects.models import Project, Take
from tests import stages
from tests.test_rework import client, scene, take, words

__all__ = ["client", "scene", "take"]  # fixtures

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

CRISP, LITE, REFRAME = "recraft/crisp-upscale", "nano-banana-2-lite", "ideogram/v3-reframe"


def html_of(client: Client, name: str, *args: Any) -> str:
    response = client.get(reverse(f"generation:{name}", args=args))
    assert response.status_code == 200
    return str(response.content.decode())


def upscaled(take: Take) -> Take:
    return stages.done(stages.reworked(take, Operation.UPSCALE, model=CRISP))


@pytest.mark.parametrize(
    ("operation", "wish", "said"),
    [
        (Operation.EDIT, {"model": LITE, "prompt": "Make it night"}, "Edited from take 1"),
        (Operation.REFRAME, {"model": REFRAME, "aspect_ratio": "9:16"}, "Reframed from take 1"),
        (Operation.UPSCALE, {"model": CRISP}, "Upscaled from take 1"),
        (Operation.CUT_OUT, {"model": "recraft/remove-background"}, "Cut out of take 1"),
    ],
)
def test_the_new_take_says_what_it_was_made_from(
    client: Client, take: Take, operation: Operation, wish: dict[str, Any], said: str
) -> None:
    order = stages.reworked(take, operation, **wish)
    stages.done(order)
    html = html_of(client, "subject", "scene", take.scene_id)
    newest = html[html.index('id="viewer"') : html.index('id="strip"')]
    assert said in words(newest)
    assert f"?take={take.pk}" in newest
    assert reverse("projects:thumbnail", args=[take.pk]) in newest
    receipt = words(html_of(client, "order", order.pk))
    assert f"Operation {operation.label} Made from {said}" in receipt


def test_one_made_from_words_has_no_parent(client: Client, take: Take) -> None:
    assert take.scene
    stages.done(stages.ordered(take.scene))
    assert 'class="parent"' not in html_of(client, "subject", "scene", take.scene_id)


def test_a_parent_elsewhere_is_named_by_where_it_is(
    client: Client, take: Take, project: Project
) -> None:
    other = stages.add_scene(project, "13")
    order = stages.reworked(take, Operation.UPSCALE, model=CRISP)
    Generation.objects.filter(pk=order.pk).update(scene=other)
    stages.done(order)
    html = html_of(client, "subject", "scene", other.pk)
    assert "From another picture: 12A Scéna 12A" in words(html)
    there = reverse("generation:subject", args=["scene", take.scene_id])
    assert f"{there}?take={take.pk}" in html


def test_a_parent_of_nothing_leads_to_its_receipt(client: Client, take: Take) -> None:
    new = upscaled(take)
    Take.objects.filter(pk=take.pk).update(scene=None)
    html = html_of(client, "subject", "scene", new.scene_id)
    assert reverse("generation:receipt", args=[take.pk]) in html


def test_a_parent_in_the_trash_leads_to_its_receipt(client: Client, take: Take) -> None:
    new = upscaled(take)
    client.post(reverse("projects:take_trash", args=[take.pk]))
    html = html_of(client, "subject", "scene", new.scene_id)
    parent = html[html.index('class="parent"') :]
    assert parent.index(reverse("generation:receipt", args=[take.pk])) < parent.index("</p>")


def test_the_receipt_shows_what_went_along(client: Client, take: Take, project: Project) -> None:
    miro, mask = stages.add_character(project), stages.add_mask(take)
    assert take.scene
    other = stages.add_take(take.scene)
    along = (miro.takes.get(), other)
    order = stages.reworked(
        take, Operation.EDIT, model=LITE, prompt="Make it night", references=along
    )
    told = words(html_of(client, "order", order.pk))
    assert "Pictures that went along Miro image 2 Take 2 image 3" in told
    assert "Instruction Make it night" in told
    assert "“take:…” stands for the address" in told
    masked = stages.reworked(
        take, Operation.EDIT, model="ideogram/v3-edit", prompt="A lake", mask=mask
    )
    html = html_of(client, "order", masked.pk)
    assert "Mask 1600 × 900" in words(html)
    assert reverse("projects:thumbnail", args=[mask.pk]) in html
    assert "Pictures that went along" not in html


def test_what_kie_is_told_is_not_shown(client: Client, take: Take) -> None:
    order = stages.reworked(take, Operation.EDIT, model=LITE, prompt="Make it night")
    order.references.update(url="https://kie.example/secret.png")
    assert "kie.example" not in html_of(client, "order", order.pk)


def test_lists_say_what_is_done(client: Client, take: Take) -> None:
    stages.running(stages.reworked(take, Operation.UPSCALE, model=CRISP))
    assert "12A Scéna 12A Upscale · hladanie v psuti_nova" in words(html_of(client, "queue"))
    assert "Upscale · hladanie v psuti_nova" in words(html_of(client, "credits"))
    told = words(html_of(client, "subject", "scene", take.scene_id))
    assert "Upscale · Recraft Crisp Upscale" in told
    assert "Upscale · Generating" in words(html_of(client, "board", take.project_id))


def test_what_came_of_several_is_what_is_charged(client: Client, take: Take) -> None:
    order = stages.reworked(take, Operation.REFRAME, model=REFRAME, aspect_ratio="9:16", count=4)
    stages.arrive(stages.running(order), pictures=3)
    told = words(html_of(client, "order", order.pk))
    assert (
        "3 of 4 pictures came. Charged 21 credits of 28 credits; the rest was given back." in told
    )
    assert "21 credits" in words(html_of(client, "queue"))
    page = reverse("generation:subject", args=["scene", take.scene_id])
    for output in order.outputs.exclude(take=None):
        told = words(client.get(page, {"take": output.take_id}).content.decode())
        assert "balanced · 7 credits" in told
    assert order.outputs.exclude(take=None).count() == 3


def test_all_of_several(client: Client, take: Take) -> None:
    order = stages.reworked(take, Operation.REFRAME, model=REFRAME, aspect_ratio="9:16", count=2)
    stages.arrive(stages.running(order), pictures=2)
    assert "Charged 14 credits ($0.07)." in words(html_of(client, "order", order.pk))


@pytest.mark.parametrize("page", ["subject", "queue", "credits", "board"])
def test_no_more_queries_for_more_of_them(client: Client, take: Take, page: str) -> None:
    args = {"subject": ["scene", take.scene_id], "board": [take.project_id]}.get(page, [])

    def queries() -> int:
        html_of(client, page, *args)
        with CaptureQueriesContext(connection) as found:
            html_of(client, page, *args)
        return len(found)

    upscaled(take)
    few = queries()
    for _ in range(4):
        upscaled(take)
    assert queries() == few
