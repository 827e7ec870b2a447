"""A locked scene is done: every way to change it, or to order for it, is refused in words."""

from __future__ import annotations

import io
import json
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from PIL import Image

from generation import orders
from generation.asks import approve, ask
from generation.board import card_of
from generation.models import Generation, Operation
from generation.wishes import OrderRefused, Wish
from projects.locks import Locked, changing, set_locked
from projects.models import Character, Member, Project, Role, Scene, Take
from tests import stages
from tests.open_page import part_of, version_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

HTMX = {"HX-Request": "true"}


@pytest.fixture
def client(alice: User) -> Client:
    stages.give_credits(alice, 100_000)
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def scene(project: Project) -> Scene:
    return stages.add_scene(project, "12")


def lock(scene: Scene, locked: bool = True) -> None:
    set_locked(Scene.objects.filter(pk=scene.pk), locked)


def picture() -> SimpleUploadedFile:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    return SimpleUploadedFile("a.png", file.getvalue(), "image/png")


# Locking


def test_a_lock_and_its_undo(client: Client, scene: Scene) -> None:
    address = reverse("projects:scene_lock", args=[scene.pk])
    before = version_of(scene)
    answer = client.post(address, headers=HTMX)
    assert (answer.status_code, answer["HX-Trigger"]) == (204, "scene-changed")
    scene.refresh_from_db()
    assert scene.is_locked
    assert version_of(scene) != before
    card = part_of(client, scene, own="yes").content.decode()
    assert "Scene 12 is locked" in card
    assert f'action="{address}?locked=no"' in card
    assert client.post(f"{address}?locked=no").status_code == 302
    scene.refresh_from_db()
    assert not scene.is_locked
    assert version_of(scene) == before


def test_locking_many_counts_those_that_changed(project: Project) -> None:
    for number in range(1, 4):
        stages.add_scene(project, number)
    lock(project.scenes.get(number="1"))
    assert set_locked(project.scenes.all(), True) == 2
    assert set_locked(project.scenes.all(), True) == 0
    assert set_locked(project.scenes.all(), False) == 3


def test_what_is_shown_stays(client: Client, scene: Scene) -> None:
    """An order that is under way is paid for: its take comes, but is not shown."""
    first = stages.done(stages.ordered(scene))
    order = stages.running(stages.ordered(scene))
    lock(scene)
    scene.refresh_from_db()
    assert scene.chosen == first
    stages.arrive(order)
    assert scene.takes.count() == 2
    assert card_of(scene, Role.OWNER).picture == first


def test_a_lock_leaves_the_choice_and_the_trash(scene: Scene) -> None:
    old, new = stages.add_take(scene), stages.add_take(scene)
    Scene.objects.filter(pk=scene.pk).update(chosen=old)
    lock(scene)
    scene.refresh_from_db()
    assert scene.chosen == old
    other = stages.add_scene(scene.project, "13")
    kept, trashed = stages.add_take(other), stages.add_take(other)
    Take.objects.filter(pk=trashed.pk).update(trashed_at=trashed.created_at)
    lock(other)
    other.refresh_from_db()
    assert other.chosen == kept
    assert new in scene.takes.all()


def test_only_editors_lock(scene: Scene, charlie: User, project: Project) -> None:
    dana = User.objects.create_user("dana")
    Member.objects.create(project=project, user=dana, role=Role.VIEWER)
    for user, status in ((dana, 403), (charlie, 404)):
        client = Client()
        client.force_login(user)
        assert client.post(reverse("projects:scene_lock", args=[scene.pk])).status_code == status
    scene.refresh_from_db()
    assert not scene.is_locked


# What is refused


def ways_to_change(scene: Scene, take: Take) -> dict[str, tuple[str, dict[str, Any]]]:
    words = {"number": "12", "title": "Other", "description": "Other", "after": ""}
    return {
        "edit": (reverse("projects:scene_edit", args=[scene.pk]), words),
        "delete": (reverse("projects:scene_delete", args=[scene.pk]), {}),
        "upload": (reverse("projects:scene_upload", args=[scene.pk]), {"picture": picture()}),
        "choose": (reverse("projects:take_choose", args=[take.pk]), {}),
        "rework": (
            reverse("generation:rework", args=[take.pk, "edit"]),
            {"key": uuid4().hex, "price": "650", "prompt": "Night", "model": "nano-banana-2-lite"},
        ),
    }


@pytest.mark.parametrize("way", ["edit", "delete", "upload", "choose", "rework"])
def test_no_change(way: str, client: Client, scene: Scene) -> None:
    take, _newer = stages.add_take(scene), stages.add_take(scene)
    lock(scene)
    scene.refresh_from_db()
    before = Scene.objects.filter(pk=scene.pk).values().get()
    address, fields = ways_to_change(scene, take)[way]
    page = reverse("generation:subject", args=["scene", scene.pk])
    answer = client.post(address, fields)
    assert (answer.status_code, answer["Location"]) == (302, page)
    html = client.get(page).content.decode()
    assert "Scene 12 is locked. Unlock it first; nothing was changed." in html
    if way != "choose":
        answer = client.get(address, follow=True)  # the form is not shown either
        assert "Scene 12 is locked" in answer.content.decode()
    assert Scene.objects.filter(pk=scene.pk).values().get() == before
    assert scene.takes.count() == 2
    assert not Generation.objects.exists()
    lock(scene, False)
    again = client.post(address, ways_to_change(scene, take)[way][1])
    assert "is locked" not in client.get(page).content.decode()
    assert again.status_code in (200, 302, 409, 422)


def test_a_click_is_told_in_a_toast(client: Client, scene: Scene) -> None:
    take = stages.add_take(scene)
    lock(scene)
    answer = client.post(reverse("projects:take_choose", args=[take.pk]), headers=HTMX)
    assert answer.status_code == 409
    assert (answer["HX-Reswap"], answer["HX-Trigger"]) == ("none", "scene-changed")
    html = answer.content.decode()
    assert 'hx-swap-oob="beforeend"' in html
    assert "Scene 12 is locked." in html


def test_a_script_that_asks_for_json_is_told_in_it(client: Client, scene: Scene) -> None:
    take = stages.add_take(scene)
    lock(scene)
    headers = HTMX | {"Accept": "application/json"}
    words = "Scene 12 is locked. Unlock it first; nothing was changed."
    for name, pk in (("scene_upload", scene.pk), ("take_trash", take.pk)):
        answer = client.post(reverse(f"projects:{name}", args=[pk]), headers=headers)
        assert answer.status_code == 409
        assert answer.json() == {"refused": words}
    page = client.get(reverse("generation:subject", args=["scene", scene.pk]))
    assert words not in page.content.decode()  # it has been said


def test_a_lock_that_comes_in_between_holds(scene: Scene) -> None:
    """The page was read before it, and is written after it."""
    stale = Scene.objects.get(pk=scene.pk)
    lock(scene)
    with pytest.raises(Locked), changing(stale):
        stale.save()


def test_nobody_of_its_cast_is_deleted(client: Client, project: Project, scene: Scene) -> None:
    miro = Character.objects.create(project=project, name="Miro", description="x")
    scene.cast.add(miro)
    lock(scene)
    client.post(reverse("projects:character_delete", args=[miro.pk]))
    assert list(scene.cast.all()) == [miro]
    lock(scene, False)
    client.post(reverse("projects:character_delete", args=[miro.pk]))
    assert not scene.cast.exists()


def test_nothing_is_ordered(client: Client, scene: Scene, project: Project) -> None:
    take = stages.add_take(scene)
    lock(scene)
    scene.refresh_from_db()
    for wish in (
        Wish(project=project, subject=scene),
        Wish(project=project, subject=scene, prompt="Own words"),
        Wish(project=project, subject=scene, source=take, operation=Operation.EDIT, prompt="x"),
    ):
        with pytest.raises(OrderRefused) as refused:
            orders.prepare(wish)
        assert (refused.value.code, refused.value.status) == ("locked", 409)
        assert "Scene 12 is locked" in refused.value.words
    click = {"key": uuid4().hex, "price": "650"}
    address = reverse("generation:generate", args=["scene", scene.pk])
    answer = client.post(address, click, headers=HTMX)
    assert answer.status_code == 409
    assert "Scene 12 is locked" in answer.content.decode()
    assert not Generation.objects.exists()


def test_an_order_that_stands_is_answered_again(client: Client, scene: Scene) -> None:
    address = reverse("generation:generate", args=["scene", scene.pk])
    price = card_of(scene, Role.OWNER).offer.quote.credits  # type: ignore[union-attr]
    click = {"key": uuid4().hex, "price": str(price)}
    client.post(address, click)
    lock(scene)
    assert client.post(address, click, headers=HTMX).status_code == 200
    assert Generation.objects.count() == 1


def test_programs_are_told(client: Client, scene: Scene) -> None:
    lock(scene)
    answer = Client().post(
        reverse("generation:api_image"),
        json.dumps({"sceneId": scene.pk}),
        content_type="application/json",
        headers={"Authorization": f"Bearer {token_of(scene.project.owner)}"},
    )
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "locked"
    assert answer.json()["error"]["field"] == "sceneId"


def token_of(user: User) -> str:
    from projects import access

    return access.issue_token(user, "mine")


def test_backfill_leaves_it_out(client: Client, scene: Scene, project: Project) -> None:
    lock(scene)
    stages.add_scene(project, "13")
    out = io.StringIO()
    call_command("backfill_images", project=[project.pk], stdout=out)
    assert "locked" in out.getvalue()
    assert [order.scene.number for order in Generation.objects.all()] == ["13"]  # type: ignore[union-attr]


def test_an_ask_waits_for_the_key(
    client: Client, scene: Scene, project: Project, bob: User
) -> None:
    Member.objects.filter(user=bob).update(allowance=0)
    price = card_of(scene, Role.OWNER).offer.quote.credits  # type: ignore[union-attr]
    asked = ask(Wish(project=project, subject=scene), bob, price)
    lock(scene)
    asked.refresh_from_db()
    with pytest.raises(OrderRefused, match="locked"):
        approve(asked, price)
    asked.refresh_from_db()
    assert asked.answer == ""
    lock(scene, False)
    asked = type(asked).objects.get(pk=asked.pk)
    assert approve(asked, price).scene == scene


# What is offered


def test_no_button_that_would_be_refused(client: Client, scene: Scene, project: Project) -> None:
    stages.done(stages.ordered(scene))
    stages.done(stages.ordered(scene))
    board = reverse("generation:board", args=[project.pk])
    page = reverse("generation:subject", args=["scene", scene.pk])
    buttons = [
        reverse("generation:generate", args=["scene", scene.pk]),
        reverse("projects:scene_edit", args=[scene.pk]),
    ]
    choices = [reverse("projects:take_choose", args=[take.pk]) for take in scene.takes.all()]
    seen = scene.takes.newest_first()[0]  # large, with what can be done with it
    works = [reverse("generation:rework", args=[seen.pk, "edit"])]
    for address, offered in ((board, buttons), (page, [*buttons, *choices, *works])):
        html = client.get(address).content.decode()
        for button in offered:
            assert f'"{button}"' in html
    lock(scene)
    for address, offered in ((board, buttons), (page, [*buttons, *choices, *works])):
        html = client.get(address).content.decode()
        assert "Locked" in html
        assert "Unlock" in html
        for button in offered:
            assert f'"{button}"' not in html


def test_its_words_stand_on_the_card(client: Client, scene: Scene, project: Project) -> None:
    lock(scene)
    html = client.get(reverse("generation:board", args=[project.pk])).content.decode()
    assert "<p>Duny</p>" in html
    assert "nothing is ordered for it until" not in html
