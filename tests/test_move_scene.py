"""Scenes in another order: by their menu or their number; undone; by two people at once."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from projects.models import Project, Scene
from projects.slate import Gone, move, place
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

HTMX = {"HX-Request": "true"}


@pytest.fixture
def client(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def scenes(project: Project) -> dict[str, Scene]:
    return {n: stages.add_scene(project, n) for n in ("1", "2", "3", "4")}


def order(project: Project) -> str:
    return " ".join(project.scenes.values_list("number", flat=True))


def post(client: Client, scene: Scene, *, htmx: bool = False, **fields: Any) -> Any:
    headers = HTMX if htmx else {}
    return client.post(reverse("projects:scene_move", args=[scene.pk]), fields, headers=headers)


@pytest.mark.parametrize(
    ("number", "where", "other", "then"),
    [
        ("3", "earlier", "", "1 3 2 4"),
        ("3", "later", "", "1 2 4 3"),
        ("1", "earlier", "", "1 2 3 4"),
        ("4", "later", "", "1 2 3 4"),
        ("3", "first", "", "3 1 2 4"),
        ("1", "first", "", "1 2 3 4"),
        ("2", "last", "", "1 3 4 2"),
        ("4", "last", "", "1 2 3 4"),
        ("4", "before", "1", "4 1 2 3"),
        ("4", "before", "2", "1 4 2 3"),
        ("1", "before", "2", "1 2 3 4"),
        ("1", "after", "2", "2 1 3 4"),
        ("1", "after", "4", "2 3 4 1"),
        ("2", "after", "1", "1 2 3 4"),
    ],
)
def test_where_it_stands_then(
    number: str, where: str, other: str, then: str, project: Project, scenes: dict[str, Scene]
) -> None:
    move(scenes[number], where, scenes.get(other))
    assert order(project) == then


def test_scenes_that_share_a_position_keep_their_order(
    project: Project, scenes: dict[str, Scene]
) -> None:
    project.scenes.update(position=7)
    before = order(project).split()
    moved = project.scenes.get(number=before[3])
    move(moved, "after", project.scenes.get(number=before[0]))
    assert order(project).split() == [before[0], before[3], before[1], before[2]]


def test_a_move_writes_nothing_else(project: Project, scenes: dict[str, Scene]) -> None:
    stale = Scene.objects.get(pk=scenes["3"].pk)
    Scene.objects.filter(pk=stale.pk).update(title="Changed by somebody meanwhile")
    before = Scene.objects.get(pk=stale.pk)
    move(stale, "first")
    after = Scene.objects.get(pk=stale.pk)
    assert (after.title, after.updated_at) == (before.title, before.updated_at)
    assert after.number == "3"


def test_beside_one_that_is_gone(project: Project, scenes: dict[str, Scene]) -> None:
    gone = Scene.objects.get(pk=scenes["2"].pk)
    scenes["2"].delete()
    with pytest.raises(Gone):
        move(scenes["4"], "after", gone)
    assert order(project) == "1 3 4"


def test_random_moves_are_what_a_list_would_do(project: Project) -> None:
    dice = random.Random(12)
    numbers = [str(n) for n in range(1, 9)]
    scenes = {n: stages.add_scene(project, n) for n in numbers}
    for _ in range(60):
        number, other = dice.sample(numbers, 2)
        where = dice.choice(["before", "after"])
        move(scenes[number], where, scenes[other])
        numbers.remove(number)
        numbers.insert(numbers.index(other) + (where == "after"), number)
        assert order(project).split() == numbers


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_do_not_spoil_the_order(project: Project) -> None:
    scenes = [stages.add_scene(project, n) for n in range(1, 13)]

    def shuffle(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(15):
            scene, other = dice.sample(scenes, 2)
            move(Scene.objects.get(pk=scene.pk), dice.choice(["before", "after"]), other)
        place(Scene(project=project, number=f"N{seed}"), dice.choice(scenes))
        connection.close()

    with ThreadPoolExecutor(4) as people:
        for done in [people.submit(shuffle, seed) for seed in range(4)]:
            done.result()
    assert project.scenes.count() == 16
    positions = list(project.scenes.values_list("position", flat=True))
    assert len(set(positions)) == 16


# On the site


def test_a_move_says_where_to_and_can_be_undone(
    client: Client, project: Project, scenes: dict[str, Scene]
) -> None:
    answer = post(client, scenes["4"], htmx=True, where="before", other="2")
    assert order(project) == "1 4 2 3"
    html = answer.content.decode()
    assert "Scene 4 moved: it comes after scene 1 now." in html
    assert answer["HX-Trigger"] == "scenes-moved"
    assert answer["HX-Reswap"] == "none"
    undo = re.search(r'action="([^"]*\?where=[^"]*)"', html)
    assert undo
    client.post(undo[1].replace("&amp;", "&"))
    assert order(project) == "1 2 3 4"


def test_the_first_one_goes_back_to_the_beginning(
    client: Client, project: Project, scenes: dict[str, Scene]
) -> None:
    answer = post(client, scenes["1"], htmx=True, where="last")
    undo = re.search(r'action="([^"]*\?where=[^"]*)"', answer.content.decode())
    assert undo
    client.post(undo[1].replace("&amp;", "&"))
    assert order(project) == "1 2 3 4"


def test_what_the_page_shows_already_is_not_drawn_again(
    client: Client, scenes: dict[str, Scene]
) -> None:
    answer = post(client, scenes["4"], htmx=True, where="before", other="2", drawn="yes")
    assert "HX-Trigger" not in answer


def test_a_move_to_where_it_stands_has_nothing_to_undo(
    client: Client, project: Project, scenes: dict[str, Scene]
) -> None:
    html = post(client, scenes["1"], htmx=True, where="earlier").content.decode()
    assert "Scene 1 stands there already." in html
    assert "Undo" not in html


def test_without_script_one_comes_back_to_where_the_button_stood(
    client: Client, project: Project, scenes: dict[str, Scene]
) -> None:
    board = reverse("generation:board", args=[project.pk])
    address = reverse("projects:scene_move", args=[scenes["4"].pk])
    place = f"#scene-{scenes['4'].pk}"
    for came_from, then in (
        (f"{board}?show=missing", f"http://testserver{board}?show=missing{place}"),
        (address, f"{board}?at={scenes['4'].pk}{place}"),
    ):
        answer = client.post(
            address, {"where": "first"}, headers={"Referer": f"http://testserver{came_from}"}
        )
        assert answer.status_code == 302
        assert answer["Location"] == then


def test_the_page_takes_a_number(
    client: Client, project: Project, scenes: dict[str, Scene]
) -> None:
    address = reverse("projects:scene_move", args=[scenes["1"].pk])
    assert 'name="other"' in client.get(address).content.decode()
    answer = post(client, scenes["1"], where="after", other=" 3 ")
    assert answer.status_code == 302
    assert order(project) == "2 3 1 4"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "This field is required"),
        ({"where": "sideways"}, "Select a valid choice"),
        ({"where": "after"}, "Which scene?"),
        ({"where": "after", "other": "99"}, "There is no other scene 99."),
        ({"where": "before", "other": "1"}, "There is no other scene 1."),
        ({"where": "after", "other": "9" * 200}, "at most 60 characters"),
        ({"where": "after", "other": "2\x00"}, "Null characters are not allowed"),
    ],
)
def test_what_makes_no_sense_moves_nothing(
    fields: dict[str, str], words: str, client: Client, project: Project, scenes: dict[str, Scene]
) -> None:
    answer = post(client, scenes["1"], **fields)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    answer = post(client, scenes["1"], htmx=True, **fields)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert answer["HX-Trigger"] == "scenes-moved"
    assert order(project) == "1 2 3 4"


def test_a_scene_of_another_project_is_no_neighbour(
    client: Client, alice: User, scenes: dict[str, Scene]
) -> None:
    other = Project.objects.create(owner=alice, name="Other")
    stages.add_scene(other, "77")
    assert post(client, scenes["1"], where="after", other="77").status_code == 422


def test_a_locked_scene_may_stand_elsewhere(
    client: Client, project: Project, scenes: dict[str, Scene]
) -> None:
    project.scenes.update(is_locked=True)
    assert post(client, scenes["4"], where="first").status_code == 302
    assert order(project) == "4 1 2 3"


# The board at a scene


def test_a_new_scene_is_shown_where_it_stands(client: Client, project: Project) -> None:
    for number in range(1, 131):
        stages.add_scene(project, number)
    after = project.scenes.get(number="70")
    new = reverse("projects:scene_new", args=[project.pk])
    assert 'value="70A"' in client.get(new, {"after": after.pk}).content.decode()
    answer = client.post(new, {"number": "70A", "after": after.pk})
    made = project.scenes.get(number="70A")
    assert answer["Location"].endswith(f"?at={made.pk}#scene-{made.pk}")
    html = client.get(answer["Location"]).content.decode()
    shown = re.findall(r'class="number">(\w+)', html)
    assert shown[0] == "61"
    assert shown[shown.index("70") + 1] == "70A"
    board = reverse("generation:board", args=[project.pk])
    for at in (after.pk, "nonsense", project.scenes.get(number="1").pk):
        assert client.get(board, {"at": at}).status_code == 200
    assert 'aria-current="page">2' in client.get(board, {"at": after.pk}).content.decode()
    html = client.get(board, {"at": after.pk, "page": "3"}).content.decode()
    assert 'aria-current="page">3' in html
