"""Two takes beside each other, and in what they differ."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from generation.models import Operation
from generation.orders import Terms, Wish, place, prepare
from generation.recipes import Piece, reworded
from projects.models import Scene, Take
from tests import stages
from tests.test_board import signed_in
from tests.test_rework import words

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


@pytest.fixture
def client(alice: User) -> Client:
    stages.give_credits(alice, 100_000)
    return signed_in(alice)


@pytest.fixture
def scene(project: Any) -> Scene:
    return stages.add_scene(project, "12A")


def made(scene: Scene, key: str, **wish: Any) -> Take:
    order = prepare(Wish(project=scene.project, subject=scene, **wish))
    return stages.done(place(order, Terms(user=scene.project.owner, key=key * 32)))


def compared(client: Client, scene: Scene, **two: str) -> str:
    answer = client.get(reverse("generation:compare", args=["scene", scene.pk]), two)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_what_differs_is_said_and_nothing_else(client: Client, scene: Scene) -> None:
    one = made(scene, "a", model="seedream-3.0/2k", prompt="Two tents in the dunes")
    other = made(
        scene, "b", model="nano-banana-2-lite", prompt="Two tents in snow", aspect_ratio="1:1"
    )
    html = compared(client, scene, a=one.pk, b=other.pk)
    told = words(html)
    assert "Take 1 beside take 2" in told
    table = told[told.index("What differs") : told.index("Prompt of take 1")]
    assert "Model Seedream 3.0 (2K) Nano Banana 2 Lite" in table
    assert "Aspect ratio 16:9 1:1" in table
    assert "Price 6 credits" in table
    assert "Size" not in table and "Took" not in table
    assert "<del> the dunes</del>" in html
    assert "<ins> snow</ins>" in html


def test_the_same_recipe_is_said_to_be_the_same(client: Client, scene: Scene) -> None:
    one, other = made(scene, "a"), made(scene, "b")
    told = words(compared(client, scene, a=one.pk, b=other.pk))
    assert "Model, settings, size and price are the same." in told
    assert "Both were made from the same prompt." in told


def test_a_picture_of_ones_own_beside_one_that_was_made(client: Client, scene: Scene) -> None:
    one, own = made(scene, "a"), stages.add_take(scene)
    told = words(compared(client, scene, a=one.pk, b=own.pk))
    assert "Made by – Uploaded, or from an older system" in told
    assert "Prompt of take" not in told


def test_what_was_worked_on_beside_what_came_of_it(client: Client, scene: Scene) -> None:
    one = made(scene, "a")
    model = "recraft/crisp-upscale"
    other = stages.done(stages.reworked(one, Operation.UPSCALE, model=model))
    assert "Operation – Upscale" in words(compared(client, scene, a=one.pk, b=other.pk))


def test_without_two_names_the_shown_one_and_the_one_before(client: Client, scene: Scene) -> None:
    stages.add_take(scene)
    assert "There are no two takes to compare yet." in compared(client, scene)
    stages.add_take(scene)
    stages.add_take(scene)
    assert "Take 3 beside take 2" in words(compared(client, scene))
    assert "Take 3 beside take 2" in words(compared(client, scene, a="x", b="\N{SNOWMAN}"))


def test_a_take_of_another_scene_is_not_there(client: Client, scene: Scene) -> None:
    stages.add_take(scene)
    stages.add_take(scene)
    stranger = stages.add_take(stages.add_scene(scene.project, "13"))
    html = compared(client, scene, a=stranger.pk)
    assert reverse("projects:picture", args=[stranger.pk]) not in html


def test_one_is_chosen_there(client: Client, scene: Scene) -> None:
    one, other = stages.add_take(scene), stages.add_take(scene)
    html = compared(client, scene, a=one.pk, b=other.pk)
    form = re.search(rf'action="(/takes/{one.pk}/choose/)".*?name="next" value="([^"]+)"', html)
    assert form
    answer = client.post(form[1], {"chosen": "yes", "next": form[2].replace("&amp;", "&")})
    assert answer["Location"].endswith(f"/compare/?a={one.pk}&b={other.pk}")
    assert "Take 1 Chosen" in words(client.get(answer["Location"]).content.decode())


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("a b c", "a x c", (["a", "[ b]", " c"], ["a", "[ x]", " c"])),
        ("a b", "a b c", (["a b"], ["a b", "[ c]"])),
        ("a", "", (["[a]"], [])),
        ("a\n\nb", "a b", (["a", "[\n\nb]"], ["a", "[ b]"])),
        ("x " * 2000, "y " * 2000, (["x " * 2000], ["y " * 2000])),
    ],
)
def test_prompts_word_by_word(first: str, second: str, said: tuple[list[str], list[str]]) -> None:
    def marked(pieces: list[Piece]) -> list[str]:
        return [f"[{piece.text}]" if piece.is_other else piece.text for piece in pieces]

    one, other = reworded(first, second)
    assert (marked(one), marked(other)) == said
    assert "".join(piece.text for piece in one) == first
