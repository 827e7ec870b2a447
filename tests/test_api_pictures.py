"""POST /api/image with pictures: what is done with a take, what goes along, a mask, how many."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from credits import ledger
from generation.kie.sandbox import Sandbox
from generation.models import Generation
from projects.models import Member, Project, Role, Take
from tests import stages
from tests.test_api import nothing_happened, post, program_of

# The whole way needs KIE's sandbox, and pictures that are real files.
from tests.test_every_model import Set, decoded_here, done, film, kie, kie_of_module, sent_for
from tests.test_rework import scene, take

__all__ = ["decoded_here", "film", "kie", "kie_of_module", "scene", "take"]  # fixtures

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

LITE, INPAINT, REFRAME = "nano-banana-2-lite", "ideogram/v3-edit", "ideogram/v3-reframe"


@pytest.fixture
def api(alice: User) -> Client:
    return program_of(alice)


def edit(take: Take, **changes: Any) -> dict[str, Any]:
    return {
        "operation": "edit",
        "sourceImage": take.pk,
        "prompt": "Make it night",
        "model": LITE,
        **changes,
    }


def error(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"].get("field", "")


def test_an_edit_from_the_post_to_the_picture(
    alice: User, kie: Sandbox, film: Set, settings: Any
) -> None:
    api = program_of(alice)
    faces = [face.pk for face in film.faces]
    response = post(api, edit(film.source, referenceImages=faces, aspectRatio="1:1"))
    assert response.status_code == 202, response.content
    order = Generation.objects.get()
    (new,) = done(order)
    sent = sent_for(kie, order)
    assert sent["model"] == LITE
    assert sent["input"]["aspect_ratio"] == "1:1"
    assert len(set(sent["input"]["image_urls"])) == 3
    answer = api.get(response.headers["Location"])
    assert answer.status_code == 200
    picture = reverse("projects:picture", args=[new.pk])
    assert answer.json()["imageUrl"] == f"http://testserver{picture}"
    assert api.get(picture).status_code == 200
    assert (new.scene, new.output.generation.source) == (film.scene, film.source)


def test_a_take_brings_its_scene_and_project(api: Client, take: Take, alice: User) -> None:
    assert post(api, edit(take)).status_code == 202
    order = Generation.objects.get()
    assert (order.scene, order.project, order.source) == (take.scene, take.project, take)
    assert (order.operation, order.payer) == ("edit", alice)


@pytest.mark.parametrize(
    "name", ["{id}", "/takes/{id}/picture", "http://testserver/takes/{id}/picture"]
)
def test_a_picture_is_named_by_its_id_or_by_its_address(api: Client, take: Take, name: str) -> None:
    assert post(api, edit(take, sourceImage=name.format(id=take.pk))).status_code == 202
    assert Generation.objects.get().source == take


def test_the_named_pictures_go_along_in_their_order(api: Client, take: Take) -> None:
    assert take.scene
    others = [stages.add_take(take.scene).pk for _ in range(2)]
    assert post(api, edit(take, referenceImages=others)).status_code == 202
    sent = Generation.objects.get().request["input"]["image_urls"]
    assert sent == [f"take:{take_id}" for take_id in (take.pk, *others)]


def test_a_mask(api: Client, take: Take) -> None:
    mask = stages.add_mask(take)
    assert post(api, edit(take, model=INPAINT, maskImage=mask.pk)).status_code == 202
    assert Generation.objects.get().request["input"]["mask_url"] == f"take:{mask.pk}"


def test_several_pictures_cost_several_times(api: Client, take: Take, alice: User) -> None:
    wish = {"operation": "reframe", "sourceImage": take.pk, "model": REFRAME, "count": 4}
    assert post(api, {**wish, "aspectRatio": "9:16"}).status_code == 202
    assert Generation.objects.get().count == 4
    assert ledger.ledger_of(alice).held == 2800


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"operation": "paint"}, "operation"),
        ({"operation": None}, "operation"),
        ({"operation": "upscale"}, "model"),
        ({"operation": 5}, "operation"),
        ({"sourceImage": None}, "sourceImage"),
        ({"sourceImage": "nobody"}, "sourceImage"),
        ({"sourceImage": "../etc"}, "sourceImage"),
        ({"sourceImage": ["a"]}, "sourceImage"),
        ({"prompt": ""}, "prompt"),
        ({"referenceImages": "nobody"}, "referenceImages"),
        ({"referenceImages": ["nobody"]}, "referenceImages"),
        ({"referenceImages": [1]}, "referenceImages"),
        ({"model": "qwen/image-edit", "referenceImages": ["{id}"]}, "referenceImages"),
        ({"maskImage": "nobody"}, "maskImage"),
        ({"maskImage": "{id}"}, "maskImage"),
        ({"model": INPAINT}, "maskImage"),
        ({"count": 2}, "count"),
        ({"count": 0}, "count"),
        ({"count": True}, "count"),
        ({"count": "2"}, "count"),
    ],
)
def test_a_bad_wish_names_its_field_and_holds_nothing(
    api: Client, take: Take, changes: dict[str, Any], field: str
) -> None:
    named = {
        name: [one.format(id=take.pk) if isinstance(one, str) else one for one in value]
        if isinstance(value, list)
        else (value.format(id=take.pk) if isinstance(value, str) else value)
        for name, value in changes.items()
    }
    assert error(post(api, edit(take, **named))) == (422, field)
    assert nothing_happened()


def test_a_mask_of_another_size(api: Client, take: Take) -> None:
    mask = stages.add_mask(take)
    Take.objects.filter(pk=mask.pk).update(width=800)
    response = post(api, edit(take, model=INPAINT, maskImage=mask.pk))
    assert error(response) == (422, "maskImage")
    assert "1600 × 900" in response.json()["error"]["message"]


@pytest.mark.parametrize("field", ["sourceImage", "referenceImages", "maskImage"])
def test_a_picture_without_a_file(api: Client, take: Take, field: str) -> None:
    linked = stages.add_mask(take) if field == "maskImage" else stages.add_take(take.scene)  # type: ignore[arg-type]
    Take.objects.filter(pk=linked.pk).update(image="", source_url="https://old.example/1.png")
    named = [linked.pk] if field == "referenceImages" else linked.pk
    model = INPAINT if field == "maskImage" else LITE
    response = post(api, edit(take, **{field: named, "model": model}))
    assert error(response) == (422, field)
    assert "not been fetched" in response.json()["error"]["message"]
    assert nothing_happened()


# Whose


@pytest.mark.parametrize("field", ["sourceImage", "referenceImages", "maskImage"])
def test_a_picture_of_another_project(api: Client, take: Take, alice: User, field: str) -> None:
    other = Project.objects.create(owner=alice, name="Other")
    theirs = stages.add_take(stages.add_scene(other))
    named = [theirs.pk] if field == "referenceImages" else theirs.pk
    wish = edit(take, projectId=take.project_id, **{field: named})
    response = post(api, wish)
    assert error(response) == (422, field)
    assert "another project" in response.json()["error"]["message"]
    assert nothing_happened()


@pytest.mark.parametrize("field", ["sourceImage", "referenceImages", "maskImage"])
def test_a_strangers_picture_is_as_if_it_were_not_there(
    take: Take, charlie: User, field: str
) -> None:
    own = Project.objects.create(owner=charlie, name="Own")
    stages.give_credits(charlie, 10_000)
    source = stages.add_take(stages.add_scene(own))
    named = [take.pk] if field == "referenceImages" else take.pk
    response = post(program_of(charlie), edit(source, **{field: named}))
    assert error(response) == (422, field)
    assert response.json()["error"]["message"] == "There is no such picture here."
    assert nothing_happened()


def test_who_may(take: Take, bob: User, alice: User) -> None:
    dana = User.objects.create_user("dana")
    Member.objects.create(project=take.project, user=dana, role=Role.VIEWER)
    assert post(program_of(dana), edit(take)).status_code == 403
    assert nothing_happened()
    assert post(program_of(bob), edit(take)).status_code == 202
    assert Generation.objects.get().payer == alice


# Again


def test_the_same_key_with_the_same_pictures_is_the_same_order(api: Client, take: Take) -> None:
    assert take.scene
    wish = edit(take, referenceImages=[stages.add_take(take.scene).pk])
    first = post(api, wish, **{"Idempotency-Key": "one"})
    again = post(api, wish, **{"Idempotency-Key": "one"})
    assert first.headers["Location"] == again.headers["Location"]
    assert Generation.objects.count() == 1


@pytest.mark.parametrize(
    "other", ["sourceImage", "referenceImages", "operation", "count", "prompt", "maskImage"]
)
def test_the_same_key_with_other_pictures_is_refused(api: Client, take: Take, other: str) -> None:
    scene = take.scene
    assert scene
    mask = stages.add_mask(take)
    wish = edit(take, model=INPAINT, maskImage=mask.pk)
    assert post(api, wish, **{"Idempotency-Key": "one"}).status_code == 202
    changed: dict[str, Any] = {
        "sourceImage": stages.add_take(scene).pk,
        "referenceImages": [stages.add_take(scene).pk],
        "operation": "generate",
        "count": 2,
        "prompt": "Make it day",
        "maskImage": stages.add_mask(take).pk,
    }
    response = post(api, wish | {other: changed[other]}, **{"Idempotency-Key": "one"})
    assert response.status_code == 409, response.content
    assert response.json()["error"]["code"] == "key_reused"
    assert Generation.objects.count() == 1
