"""The board, its cards, and the page of one scene or character."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from generation.models import Generation, ImageSettings, KieModel, Price, Reason
from projects.models import Character, Member, Project, Role, Scene
from tests import stages
from tests.open_page import OpenPage, part_of, version_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

HTMX = {"HX-Request": "true"}


@pytest.fixture
def client(alice: User) -> Client:
    stages.give_credits(alice, 100_000)
    return signed_in(alice)


@pytest.fixture
def dana(django_user_model: type[User], project: Project) -> User:
    """May only look."""
    dana = django_user_model.objects.create_user("dana", "dana@example.com", "dana")
    Member.objects.create(project=project, user=dana, role=Role.VIEWER)
    return dana


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def board(client: Client, project: Project, **query: str) -> str:
    return str(client.get(reverse("generation:board", args=[project.pk]), query).content.decode())


def page_of(subject: Scene | Character) -> str:
    return reverse("generation:subject", args=[subject._meta.model_name, subject.pk])


def page(client: Client, subject: Scene | Character) -> str:
    return client.get(page_of(subject)).content.decode()


# Who may see it


@pytest.mark.parametrize("name", ["alice", "bob", "dana", "charlie", None])
def test_who_may_look(
    name: str | None, project: Project, dana: User, charlie: User, request: Any
) -> None:
    scene = stages.add_scene(project)
    client = signed_in(request.getfixturevalue(name)) if name else Client()
    for address in (
        reverse("generation:board", args=[project.pk]),
        reverse("generation:subject", args=["scene", scene.pk]),
    ):
        response = client.get(address)
        expected = 302 if name is None else 404 if name == "charlie" else 200
        assert response.status_code == expected, address
        if name is None:
            assert response["Location"].startswith(reverse("account_login"))


def test_a_viewer_has_nothing_to_click(project: Project, dana: User) -> None:
    scene = stages.add_scene(project)
    Character.objects.create(project=project, name="Miro", description="Geológ")
    for html in (board(signed_in(dana), project), page(signed_in(dana), scene)):
        assert "Scéna 1" in html
        for word in ("Generate", "Add scene", "Add character", "/edit/"):
            assert word not in html


def test_nothing_is_changed_by_looking(client: Client, project: Project) -> None:
    for name in ("board", "settings"):
        assert client.delete(reverse(f"generation:{name}", args=[project.pk])).status_code == 405


# What it says


def test_the_facts_of_the_document(client: Client, project: Project) -> None:
    ImageSettings.objects.create(
        project=project, provider="kie", model="seedream-3.0/2k", scene_resolution="2k"
    )
    stages.add_scene(project, "12A")
    html = board(client, project)
    words = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    assert "Seedream 3.0 (2K) scenes 16:9 characters 1:1 2K 6 credits a picture" in words
    assert reverse("generation:flow", args=[project.pk]) in html
    assert 'data-ratio="16:9"' in html
    assert '<span class="number">12A</span>' in html
    assert "pays" not in words  # alice herself


def test_who_pays_is_said_to_others(project: Project, bob: User) -> None:
    scene = stages.add_scene(project)
    assert "alice pays" in board(signed_in(bob), project)
    assert "alice pays" in page(signed_in(bob), scene)


def test_an_empty_board_says_what_comes_first(client: Client, project: Project) -> None:
    html = board(client, project)
    assert "Write the first scene" in html
    assert reverse("projects:scene_new", args=[project.pk]) in html


def test_every_scene_and_character_has_its_button_with_the_price(
    client: Client, project: Project
) -> None:
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k")
    subjects = [stages.add_scene(project, 1), stages.add_scene(project, 2)]
    miro = Character.objects.create(project=project, name="Miro", description="Geológ")
    html = board(client, project)
    for kind, subject in [("scene", s) for s in subjects] + [("character", miro)]:
        assert f'action="{reverse("generation:generate", args=[kind, subject.pk])}"' in html
    assert html.count("Generate image") == 3
    assert html.count('name="price" value="600"') == 3
    keys = re.findall(r'name="key" value="([0-9a-f]{32})"', html)
    assert len(set(keys)) == 3
    assert set(keys).isdisjoint(re.findall(r'name="key" value="(\w+)"', board(client, project)))


def test_a_scene_without_words_leads_to_its_words(client: Client, project: Project) -> None:
    scene = stages.add_scene(project, description="")
    html = board(client, project)
    assert "Generate image" not in html
    assert "Write description" in html
    assert reverse("projects:scene_edit", args=[scene.pk]) in html


def switch_off() -> None:
    KieModel.objects.filter(model_id="seedream-3.0/2k").update(is_active=False)


def unprice() -> None:
    Price.objects.all().delete()


def shorten() -> None:
    KieModel.objects.filter(model_id="seedream-3.0/2k").update(prompt_max_length=3)


@pytest.mark.parametrize(
    ("change", "own", "words"),
    [
        (switch_off, {}, "is switched off"),
        (unprice, {}, "has no price yet"),
        (shorten, {}, "The prompt has 4 characters"),
        (lambda: None, {"model": "no/such"}, "There is no model “no/such”"),
        (lambda: None, {"provider": "gemini"}, "The provider “gemini” is not available"),
        (lambda: None, {"scene_aspect_ratio": "21:9"}, "has no aspect ratio “21:9”"),
        (lambda: None, {"scene_resolution": "8K"}, "has no resolution “8K”"),
    ],
)
def test_what_cannot_be_ordered_is_said_instead_of_a_button(
    change: Any, own: dict[str, str], words: str, client: Client, project: Project
) -> None:
    ImageSettings.objects.create(project=project, **{"model": "seedream-3.0/2k"} | own)
    change()
    scene = stages.add_scene(project)
    for html in (board(client, project), page(client, scene)):
        assert words in html
        assert reverse("generation:generate", args=["scene", scene.pk]) not in html


# The picture


def test_the_newest_take_is_shown_until_one_is_chosen(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    first, second = stages.done(stages.ordered(scene)), stages.done(stages.ordered(scene))
    html = board(client, project)
    assert reverse("projects:thumbnail", args=[second.pk]) in html
    assert "2 takes" in html
    assert 'alt="Scene 1: Scéna 1"' in html
    before = version_of(scene)
    client.post(reverse("projects:take_choose", args=[first.pk]), headers=HTMX)
    html = board(client, project)
    assert reverse("projects:thumbnail", args=[first.pk]) in html
    assert reverse("projects:thumbnail", args=[second.pk]) not in html
    assert version_of(scene) != before
    client.post(reverse("projects:take_choose", args=[second.pk]), headers=HTMX)
    chosen = version_of(scene)
    client.post(reverse("projects:take_choose", args=[second.pk]), {"chosen": "no"}, headers=HTMX)
    assert version_of(scene) != chosen  # the same picture, but not because it was chosen
    client.post(reverse("projects:take_choose", args=[first.pk]), headers=HTMX)
    before = version_of(scene)
    scene.takes.create(project=project, made_by=project.owner, source_url="https://old/2.png")
    assert version_of(scene) != before  # "3 takes"


def test_a_take_known_only_by_a_link_is_no_broken_picture(
    client: Client, project: Project, alice: User
) -> None:
    scene = stages.add_scene(project)
    scene.takes.create(project=project, made_by=alice, source_url="https://old/1.png")
    html = board(client, project)
    assert "Not fetched yet" in html
    assert "<img" not in html


# The order


def test_a_card_follows_its_order(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    assert "data-again" not in part_of(client, scene).content.decode()
    order = stages.ordered(scene)
    html = part_of(client, scene).content.decode()
    assert f'data-live="scene-{scene.pk} site"' in html
    assert 'data-again="60"' in html  # should it never hear of it
    assert "Waiting in line" in html
    assert reverse("generation:cancel", args=[order.pk]) in html
    stages.running(order, "waiting")
    html = part_of(client, scene).content.decode()
    assert "In the provider’s line" in html or "In the provider&#x27;s line" in html
    assert 'class="cancel"' not in html
    stages.running(stages.ordered(scene))
    assert "2 orders" in part_of(client, scene).content.decode()


def test_a_finished_card_asks_no_more(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    take = stages.done(stages.ordered(scene))
    html = part_of(client, scene).content.decode()
    assert "data-again" not in html
    assert reverse("projects:thumbnail", args=[take.pk]) in html
    assert "the picture is ready" in html
    assert "Generate image" in html


def test_what_is_known_is_not_sent_again(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    order = stages.ordered(scene)
    part = f"scene-{scene.pk}"
    open_board = OpenPage(client, reverse("generation:board", args=[project.pk]))
    open_page = OpenPage(client, reverse("generation:subject", args=["scene", scene.pk]))
    for change in (
        lambda: stages.running(order),
        lambda: Scene.objects.get(pk=scene.pk).save(),
        lambda: stages.ordered(scene),
    ):
        for shown in (open_board, open_page):
            assert shown.ask().status_code == 204
        change()
        for shown in (open_board, open_page):
            assert part in shown.changed()


def test_a_long_order_says_so_when_the_time_has_come(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    order = stages.running(stages.ordered(scene))

    def sent_before(**ago: float) -> str:
        then = timezone.now() - timedelta(**ago)
        Generation.objects.filter(pk=order.pk).update(created_at=then, submitted_at=then)
        return str(part_of(client, scene).content.decode())

    html = sent_before(seconds=170)
    assert "Taking longer than usual" not in html
    assert re.search(r'data-again="(10|9)"', html)
    seen = version_of(scene)
    html = sent_before(minutes=4)
    assert version_of(scene) != seen
    assert "Taking longer than usual" in html
    assert "Give my credits back now" in html
    assert 'data-again="60"' in html
    assert re.search(r"4 min \d+ s", html)


def test_the_card_knows_about_how_long_it_takes(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    order = stages.ordered(scene)
    stages.done(order)
    Generation.objects.filter(pk=order.pk).update(
        created_at=order.finished_at - timedelta(seconds=24)  # type: ignore[operator]
    )
    stages.running(stages.ordered(scene))
    assert "of about 24 s" in part_of(client, scene).content.decode()


def test_a_failure_says_first_that_nothing_was_charged(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    stages.failed(stages.ordered(scene), Reason.UNSAFE)
    html = board(client, project)
    assert "<b>Not charged.</b> The model refused this description as unsafe." in html
    assert "Edit description" in html
    assert "secret words" not in html
    stages.failed(stages.ordered(scene), Reason.RENDER)
    html = board(client, project)
    assert "Try again" in html
    assert "Edit description" not in html


def test_changed_words_can_be_tried_again(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    stages.failed(stages.ordered(scene), Reason.UNSAFE)
    scene.save()
    assert "Edit description" not in board(client, project)


def test_without_script_an_open_board_loads_itself_again(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    refresh = '<noscript><meta http-equiv="refresh" content="5; url=/'
    assert refresh not in board(client, project)
    order = stages.ordered(scene)
    assert refresh in board(client, project)
    assert refresh in page(client, scene)
    stages.done(order)
    assert refresh not in board(client, project)


# Some of many


def test_filters(client: Client, project: Project) -> None:
    done, failing, open_, _missing = (stages.add_scene(project, n) for n in (1, 2, 3, 4))
    stages.done(stages.ordered(done))
    stages.failed(stages.ordered(failing))
    stages.ordered(open_)

    def shown(which: str) -> list[str]:
        return re.findall(r'class="number">(\w+)', board(client, project, show=which))

    assert shown("missing") == ["2", "3", "4"]
    assert shown("failed") == ["2"]
    assert shown("open") == ["3"]
    assert shown("nonsense") == shown("all") == ["1", "2", "3", "4"]
    words = " ".join(re.sub(r"<[^>]*>", " ", board(client, project)).split())
    assert "All 4 Missing 3 Under way 1 Failed 1" in words


def queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def test_no_more_queries_when_there_are_more_scenes(client: Client, project: Project) -> None:
    address = reverse("generation:board", args=[project.pk])
    people = [
        Character.objects.create(project=project, name=name, description="x") for name in "AB"
    ]

    def fill(up_to: int) -> None:
        for number in range(project.scenes.count() + 1, up_to + 1):
            scene = stages.add_scene(project, number)
            scene.cast.set(people)
            if number % 5 == 0:
                stages.done(stages.ordered(scene))
            elif number % 5 == 1:
                stages.failed(stages.ordered(scene))
            elif number % 5 == 2:
                stages.running(stages.ordered(scene))
        for name in range(up_to // 10):
            Character.objects.create(project=project, name=f"Z{name}", description="y")

    fill(10)
    few, found = queries(client, address), queries(client, f"{address}?q=du")
    fill(100)
    Scene.objects.bulk_create(
        Scene(project=project, number=str(n), position=n, description="Duny")
        for n in range(101, 1001)
    )
    assert queries(client, address) == few
    assert queries(client, f"{address}?page=2") == few
    assert queries(client, f"{address}?q=du") == found
    assert few < 25


def test_a_page_holds_sixty_scenes(client: Client, project: Project) -> None:
    Scene.objects.bulk_create(
        Scene(project=project, number=str(n), position=n, description="x") for n in range(1, 131)
    )
    assert board(client, project).count('class="number"') == 60
    html = board(client, project, page="3")
    assert html.count('class="number"') == 10
    assert '<span class="number">130</span>' in html


# One scene


def test_the_page_of_a_scene(client: Client, project: Project) -> None:
    first, scene, last = (stages.add_scene(project, n) for n in (1, 2, 3))
    project.style = "35 mm film"
    project.save()
    miro = Character.objects.create(project=project, name="Miro", description="Geológ")
    scene.cast.add(miro)
    order = stages.ordered(scene)
    take = stages.done(order)
    html = page(client, scene)
    assert reverse("projects:picture", args=[take.pk]) in html
    assert f"{reverse('projects:picture', args=[take.pk])}?download=1" in html
    assert reverse("projects:take_choose", args=[take.pk]) in html
    assert reverse("generation:order", args=[order.pk]) in html
    for kind, text in (("scene", "Duny"), ("cast", "Miro: Geológ"), ("style", "35 mm film")):
        assert re.search(rf'data-kind="{kind}">.*?{text}', html, re.DOTALL)
    assert "&quot;prompt&quot;: &quot;Duny\\n\\nMiro: Geológ\\n\\n35 mm film&quot;" in html
    for around in (first, last):
        assert reverse("generation:subject", args=["scene", around.pk]) in html
    assert reverse("generation:generate", args=["scene", scene.pk]) in html


def test_the_page_of_a_character(client: Client, project: Project) -> None:
    miro = Character.objects.create(project=project, name="Miro", description="Geológ")
    html = page(client, miro)
    assert reverse("generation:generate", args=["character", miro.pk]) in html
    assert reverse("projects:character_edit", args=[miro.pk]) in html
    assert 'data-kind="character"' in html


def test_no_more_queries_when_there_are_more_takes(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    address = reverse("generation:subject", args=["scene", scene.pk])
    stages.done(stages.ordered(scene))
    stages.failed(stages.ordered(scene))
    few = queries(client, address)
    for _ in range(5):
        stages.done(stages.ordered(scene))
        stages.failed(stages.ordered(scene))
    assert queries(client, address) == few


def test_the_live_part_of_the_page_answers_alone(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    stages.ordered(scene)
    html = part_of(client, scene, page_of(scene)).content.decode()
    assert html.lstrip().startswith(f'<div class="live" id="scene-{scene.pk}"')
    assert "<html" not in html
    assert 'data-again="60"' in html
