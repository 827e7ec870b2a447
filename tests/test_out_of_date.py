"""Pictures that show words which were changed since: what changed is said, nothing is spent."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from PIL import Image

from generation.board import card_of
from generation.filters import scenes_of
from generation.models import Generation, ImageSettings, Operation
from projects import uploads
from projects.models import Character, Project, Role, Scene, Take
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

SENDS_FACES = "nano-banana-2-lite"
SENDS_NONE = "seedream-3.0/2k"
CRISP = "recraft/crisp-upscale"


@pytest.fixture
def client(alice: User) -> Client:
    stages.give_credits(alice, 100_000)
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def miro(project: Project) -> Character:
    return Character.objects.create(project=project, name="Miro", description="Geológ")


@pytest.fixture
def scene(project: Project, miro: Character, client: Client) -> Scene:
    """With a picture that is up to date, of a model that takes no pictures along."""
    ImageSettings.objects.create(project=project, model=SENDS_NONE)
    scene = stages.add_scene(project)
    scene.cast.add(miro)
    stages.done(stages.ordered(scene))
    assert changes(scene) == []
    return scene


def changes(subject: Scene | Character) -> list[str]:
    """What the card says; the filter has to say the same."""
    fresh = type(subject).objects.select_related("project__owner").get(pk=subject.pk)
    card = card_of(fresh, Role.OWNER)
    if isinstance(fresh, Scene):
        old, choices = scenes_of(fresh.project, "old", sends_faces=sends_faces(fresh.project))
        assert (fresh in old) == card.is_old
        counts = {choice.name: choice.count for choice in choices}
        assert counts["old"] == old.count()
    return card.changes


def sends_faces(project: Project) -> bool:
    return Project.objects.get(pk=project.pk).image_settings.model == SENDS_FACES


def edit(client: Client, subject: Scene | Character, **fields: Any) -> None:
    kind = subject._meta.model_name
    if isinstance(subject, Scene):
        cast = list(subject.cast.values_list("pk", flat=True))
        values = {"number": subject.number, "title": subject.title, "cast": cast}
        before = subject.project.scenes.filter(position__lt=subject.position).last()
        values |= {name: getattr(subject, name) for name in ("shot_size", "angle", "lens")}
        values["after"] = before.pk if before else ""
    else:
        values = {"name": subject.name}
    values |= {"description": subject.description} | fields
    address = reverse(f"projects:{kind}_edit", args=[subject.pk])
    assert client.post(address, values).status_code == 302
    subject.refresh_from_db()


def save_style(client: Client, project: Project, style: str) -> None:
    own = {"name": project.name, "style": style, "model": SENDS_NONE}
    address = reverse("generation:settings", args=[project.pk])
    assert client.post(address, own).status_code == 302


# What puts a picture out of date


@pytest.mark.parametrize(
    "fields",
    [
        {"description": "More"},
        {"shot_size": "cu"},
        {"angle": "low"},
        {"lens": "35 mm"},
        {"cast": []},
    ],
)
def test_a_changed_scene(fields: dict[str, Any], client: Client, scene: Scene) -> None:
    edit(client, scene, **fields)
    assert changes(scene) == ["The scene changed since."]
    stages.done(stages.ordered(scene))
    assert changes(scene) == []


@pytest.mark.parametrize(
    "fields", [{}, {"title": "Another"}, {"number": "7"}, {"description": "  Duny\r\n"}]
)
def test_what_is_in_no_prompt_is_no_change(
    fields: dict[str, Any], client: Client, scene: Scene
) -> None:
    edit(client, scene, **fields)
    assert changes(scene) == []


def test_a_browsers_ends_of_lines_are_no_change(client: Client, scene: Scene) -> None:
    Scene.objects.filter(pk=scene.pk).update(description="One\nTwo")
    scene.refresh_from_db()
    edit(client, scene, description="One\r\nTwo")
    assert changes(scene) == []


def test_a_moved_scene_is_not_out_of_date(client: Client, scene: Scene) -> None:
    stages.add_scene(scene.project, 2)
    edit(client, scene, after=scene.project.scenes.last().pk)  # type: ignore[union-attr]
    assert changes(scene) == []


def test_a_changed_style(client: Client, scene: Scene, miro: Character) -> None:
    stages.done(stages.ordered(miro))
    save_style(client, scene.project, "35 mm film")
    assert changes(scene) == changes(miro) == ["The style of the project changed since."]
    stages.done(stages.ordered(Scene.objects.get(pk=scene.pk)))
    assert changes(scene) == []
    save_style(client, scene.project, "35 mm film\r\n")
    assert changes(scene) == []


def test_a_style_that_staff_change(at_admin: Client, scene: Scene) -> None:
    project = scene.project
    address = reverse("admin:projects_project_change", args=[project.pk])
    project.members.all().delete()
    none = {
        f"{rows}-{count}_FORMS": "0"
        for rows in ("members", "image_settings")
        for count in ("TOTAL", "INITIAL")
    }
    fields = {"name": project.name, "owner": project.owner_id, **none}
    assert at_admin.post(address, fields | {"name": "Other", "style": ""}).status_code == 302
    assert changes(scene) == []
    assert at_admin.post(address, fields | {"style": "Noir"}).status_code == 302
    assert changes(scene) == ["The style of the project changed since."]


@pytest.mark.parametrize("fields", [{"description": "Tall"}, {"name": "Mirko"}])
def test_changed_words_of_somebody_in_it(
    fields: dict[str, Any], client: Client, scene: Scene, miro: Character
) -> None:
    edit(client, miro, **fields)
    assert changes(scene) == [f"{miro.name} changed since."]
    zuzana = Character.objects.create(project=scene.project, name="Zuzana")
    scene.cast.add(zuzana)
    assert changes(scene) == [f"{miro.name}, Zuzana changed since."]


def test_somebody_who_is_not_in_it_does_not_matter(
    client: Client, scene: Scene, miro: Character
) -> None:
    scene.cast.clear()
    edit(client, miro, description="Tall")
    assert changes(scene) == []


def test_a_character_that_is_deleted_leaves_its_scenes(
    client: Client, scene: Scene, miro: Character
) -> None:
    assert client.post(reverse("projects:character_delete", args=[miro.pk])).status_code == 302
    assert changes(scene) == ["The scene changed since."]


def test_a_character_that_cannot_be_deleted_changes_nothing(
    client: Client, scene: Scene, miro: Character
) -> None:
    stages.ordered(miro)
    assert client.post(reverse("projects:character_delete", args=[miro.pk])).status_code == 409
    assert changes(scene) == []


# Faces: they matter where they go along


def a_new_take(client: Client, miro: Character) -> None:
    stages.done(stages.ordered(miro))


def an_upload(client: Client, miro: Character) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    uploads.keep(SimpleUploadedFile("miro.png", file.getvalue()), miro, miro.project.owner)


def another_choice(client: Client, miro: Character) -> None:
    first = miro.takes.newest_first().last()
    assert first is not None
    client.post(reverse("projects:take_choose", args=[first.pk]))


@pytest.mark.parametrize("act", [a_new_take, an_upload, another_choice])
def test_another_picture_of_somebody(
    act: Callable[[Client, Character], None], client: Client, scene: Scene, miro: Character
) -> None:
    stages.add_take(miro)
    stages.add_take(miro)
    for model, expected in ((SENDS_FACES, ["Miro changed since."]), (SENDS_NONE, [])):
        ImageSettings.objects.filter(project=scene.project).update(model=model)
        fresh = Scene.objects.get(pk=scene.pk)
        stages.done(stages.ordered(fresh))
        assert changes(fresh) == []
        Character.objects.filter(pk=miro.pk).update(chosen=None)
        act(client, Character.objects.get(pk=miro.pk))
        assert changes(fresh) == expected


def test_the_same_picture_chosen_is_no_change(
    client: Client, scene: Scene, miro: Character
) -> None:
    take = stages.add_take(miro)
    ImageSettings.objects.filter(project=scene.project).update(model=SENDS_FACES)
    stages.done(stages.ordered(Scene.objects.get(pk=scene.pk)))
    client.post(reverse("projects:take_choose", args=[take.pk]))
    assert changes(scene) == []


# Which pictures can be


def test_a_picture_that_somebody_brought_never_is(client: Client, scene: Scene) -> None:
    brought = stages.add_take(scene)
    edit(client, scene, description="More")
    assert brought.as_of is None
    assert changes(scene) == []
    drawn = scene.takes.exclude(pk=brought.pk).get()
    Scene.objects.filter(pk=scene.pk).update(chosen=drawn)
    assert changes(scene) == ["The scene changed since."]
    Scene.objects.filter(pk=scene.pk).update(chosen=brought)
    stages.done(stages.ordered(Scene.objects.get(pk=scene.pk)))
    edit(client, scene, description="Still more")
    assert changes(scene) == []  # the chosen one is shown, however old the others are


def test_what_is_made_from_a_picture_is_as_old_as_that(client: Client, scene: Scene) -> None:
    edit(client, scene, description="More")
    source = scene.takes.get()
    take = stages.done(stages.reworked(source, Operation.UPSCALE, model=CRISP))
    assert take.as_of == source.as_of == Generation.objects.get(outputs__take=source).created_at
    assert changes(scene) == ["The scene changed since."]
    brought = stages.add_take(scene)
    assert stages.done(stages.reworked(brought, Operation.UPSCALE, model=CRISP)).as_of is None


def test_one_that_was_ordered_before_a_change_and_came_after_it(
    client: Client, scene: Scene
) -> None:
    order = stages.ordered(scene)
    edit(client, scene, description="More")
    stages.done(order)
    assert changes(scene) == ["The scene changed since."]


def test_one_in_the_trash_is_not_asked(client: Client, scene: Scene) -> None:
    edit(client, scene, description="More")
    take = stages.done(stages.ordered(Scene.objects.get(pk=scene.pk)))
    assert changes(scene) == []
    Take.objects.filter(pk=take.pk).update(trashed_at=take.created_at)
    assert changes(scene) == ["The scene changed since."]


# What a person meets


def test_it_is_said_and_offered_and_nothing_is_spent(client: Client, scene: Scene) -> None:
    edit(client, scene, description="More")
    for address in (
        reverse("generation:board", args=[scene.project_id]),
        reverse("generation:subject", args=["scene", scene.pk]),
    ):
        html = client.get(address).content.decode()
        assert '<span class="state old">Out of date</span>' in html
        assert "The scene changed since." in html
        assert re.search(
            r'<button[^>]*>Update <span class="price">(<span class="of-1">)?6 cr', html
        )
    assert Generation.objects.count() == 1


def test_the_filters(client: Client, scene: Scene) -> None:
    other = stages.add_scene(scene.project, 2)
    stages.done(stages.ordered(other))
    stages.done(stages.ordered(other))
    edit(client, scene, description="More")

    def shown(which: str) -> list[str]:
        address = reverse("generation:board", args=[scene.project_id])
        html = client.get(address, {"show": which}).content.decode()
        return re.findall(r'class="number">(\w+)', html)

    assert shown("old") == ["1"]
    assert shown("unchosen") == ["2"]
    Scene.objects.filter(pk=other.pk).update(chosen=other.takes.first())
    assert shown("unchosen") == []
