"""The takes of a scene or character: the strip, choosing, stars, the trash and the way back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from generation.models import Event, Generation, ImageSettings, Operation
from generation.recipes import recipe_of
from projects.models import Character, Member, Project, Role, Scene, Take
from tests import stages
from tests.open_page import part_of, version_of
from tests.test_board import HTMX, signed_in
from tests.test_rework import words

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


@pytest.fixture
def client(alice: User) -> Client:
    stages.give_credits(alice, 100_000)
    return signed_in(alice)


@pytest.fixture
def scene(project: Project) -> Scene:
    return stages.add_scene(project, "12A")


@pytest.fixture
def takes(scene: Scene) -> list[Take]:
    """Three, the oldest first."""
    return [stages.add_take(scene) for _ in range(3)]


def at(subject: Scene | Character) -> str:
    return reverse("generation:subject", args=[subject._meta.model_name, subject.pk])


def page(client: Client, subject: Scene | Character, **look: str) -> str:
    return str(client.get(at(subject), look).content.decode())


def press(client: Client, verb: str, take: Take, query: str = "", **values: str) -> Any:
    address = reverse(f"projects:take_{verb}", args=[take.pk]) + query
    answer = client.post(address, values, headers=HTMX)
    take.refresh_from_db()
    return answer


def chosen(scene: Scene) -> Take | None:
    scene.refresh_from_db()
    return scene.chosen


def in_strip(html: str) -> list[str]:
    """The numbers of the takes in the strip."""
    strip = html[html.index('id="strip"') :] if 'id="strip"' in html else ""
    return re.findall(r'data-number="(\d+)"', strip)


def seen_large(html: str) -> str:
    found = re.search(r'id="viewer" data-take="(\w+)"', html)
    return found[1] if found else ""


# The strip, and the one that is seen large


def test_all_takes_newest_first_and_the_shown_one_large(
    client: Client, scene: Scene, takes: list[Take]
) -> None:
    html = page(client, scene)
    assert in_strip(html) == ["3", "2", "1"]
    assert seen_large(html) == takes[2].pk
    press(client, "choose", takes[0])
    html = page(client, scene)
    assert seen_large(html) == takes[0].pk
    assert "Take 1 · chosen" in words(html)


def test_looking_at_one_chooses_nothing(client: Client, scene: Scene, takes: list[Take]) -> None:
    html = page(client, scene, take=takes[1].pk)
    assert seen_large(html) == takes[1].pk
    assert re.search(rf'id="see-{takes[1].pk}"[^>]* aria-current="true"', html)
    assert chosen(scene) is None
    assert seen_large(page(client, scene, take="nonsense")) == takes[2].pk


def test_a_click_fetches_that_part_alone(client: Client, scene: Scene, takes: list[Take]) -> None:
    target = HTMX | {"HX-Target": "viewer"}
    html = client.get(at(scene), {"take": takes[0].pk}, headers=target).content.decode()
    assert html.strip().startswith('<div class="viewer" id="viewer"')
    assert seen_large(html) == takes[0].pk
    assert 'id="strip"' not in html


def test_what_changes_around_it_keeps_what_is_looked_at(
    client: Client, scene: Scene, takes: list[Take]
) -> None:
    """The page's address says it."""
    html = part_of(client, scene, at(scene), take=takes[0].pk).content.decode()
    assert seen_large(html) == takes[0].pk
    assert seen_large(part_of(client, scene, at(scene)).content.decode()) == takes[2].pk


def test_the_recipe_of_the_one_that_is_seen(client: Client, scene: Scene) -> None:
    ImageSettings.objects.create(project=scene.project, model="seedream-3.0/2k")
    order = stages.ordered(scene)
    stages.done(order)
    told = words(page(client, scene))
    assert "Seedream 3.0 (2K) · 2K · 6 credits" in told
    assert (
        "Prompt Duny Model Seedream 3.0 (2K) Aspect ratio 16:9 Resolution 2K Price 6 credits "
        "Took 0 s Size 1600 × 900" in told
    )
    html = page(client, scene)
    assert reverse("generation:order", args=[order.pk]) in html[: html.index('id="strip"')]


@pytest.mark.parametrize(
    ("sent", "answer", "seed"),
    [
        ({"seed": 42}, None, "42"),
        ({}, {"data": {"resultJson": '{"resultUrls": ["x"], "seed": 7}'}}, "7"),
        ({}, {"data": {"resultJson": {"seed": "abc"}}}, "abc"),
        ({}, {"data": {"resultJson": "{no json"}}, ""),
        ({}, {"data": {"resultJson": '{"seed": {"a": 1}}'}}, ""),
        ({}, {"data": "x"}, ""),
        ({}, ["x"], ""),
        ({}, None, ""),
    ],
)
def test_the_seed_where_somebody_named_one(
    client: Client, scene: Scene, sent: dict[str, Any], answer: Any, seed: str
) -> None:
    take = stages.done(stages.ordered(scene))
    order = Generation.objects.get()
    order.request["input"] |= sent
    order.save(update_fields=["request"])
    Event.objects.create(generation=order, state=order.state, message="x", answer=answer)
    recipe = recipe_of(take, {})
    assert recipe and recipe.seed == seed
    assert ("<dt>Seed</dt>" in page(client, scene)) == bool(seed)


def test_a_request_that_is_not_one_has_no_seed(scene: Scene, client: Client) -> None:
    take = stages.done(stages.ordered(scene))
    Generation.objects.update(request={})
    recipe = recipe_of(take, {})
    assert recipe and recipe.seed == ""


def test_many_can_be_spread_out(client: Client, scene: Scene) -> None:
    takes = [stages.add_take(scene) for _ in range(5)]
    html = page(client, scene, take=takes[0].pk)
    assert 'class="takes reel" id="strip"' in html
    spread = re.search(r'id="spread" href="[^"]*\?([^"]+)"', html)
    assert spread and spread[1] == f"take={takes[0].pk}&amp;spread=yes"
    html = page(client, scene, take=takes[0].pk, spread="yes")
    assert 'class="takes" id="strip"' in html
    assert f"?take={takes[1].pk}&amp;spread=yes" in html
    assert "In one row" in words(html)


# Stars


def test_a_star_comes_and_goes(client: Client, scene: Scene, takes: list[Take]) -> None:
    before = version_of(scene)
    assert press(client, "star", takes[0]).status_code == 204
    assert takes[0].is_starred
    assert version_of(scene) != before
    html = page(client, scene)
    assert "All 3 Starred 1" in words(html)
    assert in_strip(page(client, scene, show="starred")) == ["1"]
    press(client, "star", takes[0], starred="no")
    assert not takes[0].is_starred
    assert version_of(scene) == before
    assert "Starred" not in words(page(client, scene))
    assert "No take has a star." in words(page(client, scene, show="starred"))


def test_what_is_locked_may_be_starred_and_is_else_left_alone(
    client: Client, scene: Scene, takes: list[Take]
) -> None:
    press(client, "choose", takes[1])
    press(client, "trash", takes[2])
    Scene.objects.update(is_locked=True)
    press(client, "star", takes[0])
    assert takes[0].is_starred
    for verb, take in (("choose", takes[0]), ("trash", takes[1]), ("put_back", takes[2])):
        answer = press(client, verb, take)
        assert answer.status_code == 409, verb
        assert "Scene 12A is locked." in answer.content.decode()
    assert press(client, "choose", takes[1], chosen="no").status_code == 409
    assert chosen(scene) == takes[1]
    assert takes[1].trashed_at is None and takes[2].trashed_at
    html = page(client, scene)
    html = html[html.index('id="viewer"') :]
    assert f"/takes/{takes[1].pk}/star/" in html
    for word in ("/choose/", "/trash/", "/put-back/"):
        assert word not in html, word


# The trash


def test_the_trash_hides_and_keeps_everything(
    client: Client, scene: Scene, takes: list[Take]
) -> None:
    before = version_of(scene)
    assert press(client, "trash", takes[2]).status_code == 204
    assert takes[2].trashed_at and takes[2].image
    assert version_of(scene) != before
    html = page(client, scene)
    assert in_strip(html) == ["2", "1"]  # the numbers stay
    assert seen_large(html) == takes[1].pk
    assert "Trash 1" in words(html)
    board = client.get(reverse("generation:board", args=[scene.project_id])).content.decode()
    assert "2 takes" in board
    assert reverse("projects:thumbnail", args=[takes[2].pk]) not in board
    assert client.get(reverse("generation:receipt", args=[takes[2].pk])).status_code == 200
    press(client, "put_back", takes[2])
    assert takes[2].trashed_at is None
    assert in_strip(page(client, scene)) == ["3", "2", "1"]


def test_the_toast_leads_back_even_to_the_choice(
    client: Client, scene: Scene, takes: list[Take]
) -> None:
    press(client, "choose", takes[1])
    press(client, "trash", takes[1])
    assert chosen(scene) is None
    html = page(client, scene)
    assert "Take 2 is in the trash." in words(html)
    undo = re.search(r'action="(/takes/\w+/put-back/\?chosen=yes)"', html)
    assert undo
    client.post(undo[1], headers=HTMX)
    assert chosen(scene) == takes[1]
    takes[1].refresh_from_db()
    assert takes[1].trashed_at is None


def test_undoing_does_not_choose_what_was_not_chosen(
    client: Client, scene: Scene, takes: list[Take]
) -> None:
    press(client, "trash", takes[1])
    assert "put-back/?chosen=no" in page(client, scene)
    press(client, "put_back", takes[1], "?chosen=no")
    assert chosen(scene) is None


def test_the_next_one_is_seen_when_the_seen_one_goes(
    client: Client, scene: Scene, takes: list[Take]
) -> None:
    """So that one can go through them; of the oldest, the one after it."""
    press(client, "trash", takes[1])
    assert seen_large(page(client, scene, take=takes[1].pk)) == takes[0].pk
    press(client, "trash", takes[0])
    assert seen_large(page(client, scene, take=takes[0].pk)) == takes[2].pk
    press(client, "trash", takes[2])
    html = page(client, scene, take=takes[2].pk)
    assert (seen_large(html), in_strip(html)) == ("", [])
    assert "No picture yet" in words(html)


def test_what_is_in_the_trash_cannot_be_chosen(
    client: Client, scene: Scene, takes: list[Take]
) -> None:
    """By a page that was drawn before."""
    press(client, "trash", takes[0])
    assert press(client, "choose", takes[0]).status_code == 404
    assert chosen(scene) is None


def test_twice_in_the_trash_is_once(client: Client, takes: list[Take]) -> None:
    press(client, "trash", takes[0])
    since = takes[0].trashed_at
    press(client, "trash", takes[0])
    assert takes[0].trashed_at == since


def test_what_is_shown_instead_must_be_of_the_same_scene(
    client: Client, scene: Scene, takes: list[Take], project: Project
) -> None:
    stranger = stages.add_take(stages.add_scene(project, "13"))
    press(client, "choose", takes[0])
    press(client, "trash", takes[0], f"?instead={stranger.pk}")
    assert chosen(scene) is None
    press(client, "choose", takes[1])
    press(client, "trash", takes[1], f"?instead={takes[2].pk}")
    assert chosen(scene) == takes[2]


def test_an_order_under_way_is_not_touched(client: Client, scene: Scene, takes: list[Take]) -> None:
    order = stages.reworked(takes[0], Operation.UPSCALE, model="recraft/crisp-upscale")
    press(client, "trash", takes[0])
    assert stages.done(order).scene == scene
    assert order.references.get().take == takes[0]


def test_a_characters_picture_in_the_trash_goes_along_no_more(
    client: Client, project: Project, scene: Scene
) -> None:
    miro = stages.add_character(project)
    scene.cast.add(miro)
    first = miro.takes.get()
    second = stages.add_take(miro)
    press(client, "choose", second)
    press(client, "trash", second)
    shown = Character.objects.with_picture().get(pk=miro.pk)
    assert shown.picture_id == first.pk  # type: ignore[attr-defined]


def test_a_take_of_nothing_has_no_trash(client: Client, project: Project, scene: Scene) -> None:
    mask = stages.add_mask(stages.add_take(scene))
    for verb in ("star", "trash", "put_back", "choose"):
        assert press(client, verb, mask).status_code == 404


@pytest.mark.parametrize("verb", ["star", "trash", "put_back"])
def test_without_script_it_leads_back_to_the_page(
    client: Client, scene: Scene, takes: list[Take], verb: str
) -> None:
    address = reverse(f"projects:take_{verb}", args=[takes[0].pk])
    assert client.post(address)["Location"] == at(scene)
    here = f"{at(scene)}?take={takes[0].pk}"
    assert client.post(address, {"next": here})["Location"] == here
    assert client.post(address, {"next": "https://elsewhere.example/"})["Location"] == at(scene)


def test_a_viewer_sees_all_and_changes_nothing(
    project: Project, scene: Scene, takes: list[Take], django_user_model: type[User]
) -> None:
    dana = django_user_model.objects.create_user("dana")
    Member.objects.create(project=project, user=dana, role=Role.VIEWER)
    Take.objects.filter(pk=takes[0].pk).update(is_starred=True)
    Take.objects.filter(pk=takes[1].pk).update(trashed_at=timezone.now())
    html = page(signed_in(dana), scene)
    assert in_strip(html) == ["3", "1"]
    assert "Trash 1" in words(html)
    for word in ("/choose/", "/star/", "/trash/", "/put-back/", "/upload/", "data-upload", "again"):
        assert word not in html[html.index("<main") :], word


# As many as there are


def fill(scene: Scene, number: int) -> None:
    for _ in range(number):
        stages.add_take(scene)
    for take in scene.takes.all()[: number // 4]:
        take.trashed_at = timezone.now()
        take.save()


def add_scenes(scene: Scene, number: int) -> None:
    last = scene.project.scenes.count()
    Scene.objects.bulk_create(
        Scene(project=scene.project, number=f"N{n}", position=n, description="x")
        for n in range(last + 1, last + number + 1)
    )


@pytest.mark.parametrize(("grow", "few", "many"), [(fill, 4, 100), (add_scenes, 10, 1000)])
def test_no_more_queries_for_more_takes_or_scenes(
    client: Client,
    scene: Scene,
    grow: Callable[[Scene, int], None],
    few: int,
    many: int,
) -> None:
    stages.done(stages.ordered(scene))

    def queries(look: Callable[[], Any]) -> int:
        with CaptureQueriesContext(connection) as found:
            assert look().status_code == 200
        return len(found)

    def counted() -> list[int]:
        compare = reverse("generation:compare", args=["scene", scene.pk])
        return [
            queries(lambda: client.get(at(scene))),
            queries(lambda: part_of(client, scene, at(scene))),
            queries(lambda: client.get(compare)),
        ]

    grow(scene, few)
    counted()  # sessions and caches
    before = counted()
    grow(scene, many)
    assert counted() == before
