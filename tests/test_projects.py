"""My projects, their scenes and characters, and the choice of a take: who may, and what happens."""

from __future__ import annotations

import io
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from generation.models import Generation, KieModel
from projects.models import Character, Member, Project, Role, Scene, Take
from projects.slate import next_number, place, predecessor

pytestmark = pytest.mark.django_db


@pytest.fixture
def vera(project: Project) -> User:
    """May look at the project."""
    vera = User.objects.create_user("vera", "vera@example.com", "vera")
    Member.objects.create(project=project, user=vera, role=Role.VIEWER)
    return vera


def add_scene(project: Project, number: str, **fields: object) -> Scene:
    scene = Scene(project=project, number=number, **fields)
    place(scene, project.scenes.last())
    return scene


def add_take(project: Project, **of: object) -> Take:
    return Take.objects.create(
        project=project, made_by=project.owner, image="takes/a.png", thumbnail="takes/a.webp", **of
    )


@pytest.fixture
def scene(project: Project) -> Scene:
    return add_scene(project, "12", title="Duny", description="Miro na hrebeni duny.")


@pytest.fixture
def character(project: Project) -> Character:
    return Character.objects.create(project=project, name="Miro", description="Starý muž.")


@pytest.fixture
def take(project: Project, scene: Scene) -> Take:
    return add_take(project, scene=scene)


@pytest.fixture
def addresses(
    project: Project, scene: Scene, character: Character, take: Take
) -> dict[str, tuple[str, str]]:
    """Every address of ours that belongs to a project: the method that may change something."""
    return {
        "delete": ("post", reverse("projects:delete", args=[project.pk])),
        "scene_new": ("get", reverse("projects:scene_new", args=[project.pk])),
        "scene_edit": ("get", reverse("projects:scene_edit", args=[scene.pk])),
        "scene_delete": ("get", reverse("projects:scene_delete", args=[scene.pk])),
        "character_new": ("get", reverse("projects:character_new", args=[project.pk])),
        "character_edit": ("get", reverse("projects:character_edit", args=[character.pk])),
        "character_delete": ("get", reverse("projects:character_delete", args=[character.pk])),
        "scene_upload": ("get", reverse("projects:scene_upload", args=[scene.pk])),
        "character_upload": ("get", reverse("projects:character_upload", args=[character.pk])),
        "take_choose": ("post", reverse("projects:take_choose", args=[take.pk])),
    }


EVERY = [
    "delete",
    "scene_new",
    "scene_edit",
    "scene_delete",
    "character_new",
    "character_edit",
    "character_delete",
    "scene_upload",
    "character_upload",
    "take_choose",
]


class TestWhoMay:
    @pytest.mark.parametrize("name", EVERY)
    def test_stranger_meets_nothing(
        self, client: Client, charlie: User, addresses: dict[str, tuple[str, str]], name: str
    ) -> None:
        method, address = addresses[name]
        client.force_login(charlie)
        assert getattr(client, method)(address).status_code == HTTPStatus.NOT_FOUND
        assert client.post(address).status_code == HTTPStatus.NOT_FOUND

    @pytest.mark.parametrize("name", EVERY)
    def test_viewer_may_not(
        self, client: Client, vera: User, addresses: dict[str, tuple[str, str]], name: str
    ) -> None:
        method, address = addresses[name]
        client.force_login(vera)
        assert getattr(client, method)(address).status_code == HTTPStatus.FORBIDDEN
        assert client.post(address).status_code == HTTPStatus.FORBIDDEN

    @pytest.mark.parametrize("name", EVERY)
    def test_anonymous_is_asked_to_sign_in(
        self, client: Client, addresses: dict[str, tuple[str, str]], name: str
    ) -> None:
        method, address = addresses[name]
        answer = getattr(client, method)(address)
        assert answer.status_code == HTTPStatus.FOUND
        assert answer["Location"].startswith(reverse("account_login"))

    @pytest.mark.parametrize("name", EVERY)
    def test_owner_may(
        self, client: Client, alice: User, addresses: dict[str, tuple[str, str]], name: str
    ) -> None:
        method, address = addresses[name]
        client.force_login(alice)
        assert getattr(client, method)(address).status_code in (200, 302, 409)

    @pytest.mark.parametrize("name", [name for name in EVERY if name != "delete"])
    def test_editor_may(
        self, client: Client, bob: User, addresses: dict[str, tuple[str, str]], name: str
    ) -> None:
        method, address = addresses[name]
        client.force_login(bob)
        assert getattr(client, method)(address).status_code in (200, 302)

    def test_editor_may_not_delete_the_project(
        self, client: Client, bob: User, addresses: dict[str, tuple[str, str]]
    ) -> None:
        client.force_login(bob)
        assert client.post(addresses["delete"][1]).status_code == HTTPStatus.FORBIDDEN

    @pytest.mark.parametrize("name", ["projects:list", "projects:new"])
    def test_my_pages_are_for_people_who_are_in(self, client: Client, name: str) -> None:
        assert client.get(reverse(name)).status_code == HTTPStatus.FOUND

    @pytest.mark.parametrize(
        "address", ["/scenes/%00/edit/", "/takes/Ž/choose/", "/scenes/x/edit/"]
    )
    def test_ids_that_cannot_be(self, client: Client, alice: User, address: str) -> None:
        client.force_login(alice)
        assert client.post(address).status_code == HTTPStatus.NOT_FOUND


class TestList:
    def test_shows_mine_and_those_shared_with_me(
        self, client: Client, alice: User, bob: User, charlie: User, project: Project
    ) -> None:
        Project.objects.create(owner=bob, name="Tichá voda")
        client.force_login(bob)
        page = client.get("/").content.decode()
        assert "hladanie v psuti_nova" in page
        assert "shared by alice" in page
        assert "Tichá voda" in page
        client.force_login(charlie)
        page = client.get("/").content.decode()
        assert "hladanie" not in page
        assert "Make the first project" in page

    def test_counts_and_newest_pictures_of_different_scenes(
        self, client: Client, alice: User, project: Project, scene: Scene
    ) -> None:
        old = add_take(project, scene=add_scene(project, "13"))
        add_scene(project, "14")
        newer = [add_take(project, scene=scene) for _ in range(5)]
        client.force_login(alice)
        answer = client.get("/")
        [(card, pictures)] = answer.context["cards"]
        assert (card.scene_count, card.pictured_count) == (3, 2)
        assert len(pictures) == 4
        assert pictures[1] == old.pk, "another scene comes before another take of the same one"
        assert pictures[0] in [take.pk for take in newer]
        assert answer.content.decode().count(reverse("projects:thumbnail", args=[old.pk])) == 1

    def test_takes_of_others_are_not_shown(
        self, client: Client, alice: User, charlie: User, project: Project, take: Take
    ) -> None:
        client.force_login(charlie)
        Project.objects.create(owner=charlie, name="Mine")
        assert take.pk not in client.get("/").content.decode()

    def test_last_worked_on_comes_first(
        self, client: Client, alice: User, project: Project, scene: Scene
    ) -> None:
        other = Project.objects.create(owner=alice, name="Newer")
        client.force_login(alice)
        assert [card.pk for card, _ in client.get("/").context["cards"]] == [other.pk, project.pk]
        add_take(project, scene=scene)
        assert [card.pk for card, _ in client.get("/").context["cards"]] == [project.pk, other.pk]

    def test_no_more_queries_for_more_projects(self, client: Client, alice: User) -> None:
        def fill(count: int) -> None:
            for i in range(count):
                project = Project.objects.create(owner=alice, name=f"Film {i}")
                add_take(project, scene=add_scene(project, "1"))

        client.force_login(alice)
        fill(1)
        with CaptureQueriesContext(connection) as few:
            client.get("/")
        fill(19)
        with CaptureQueriesContext(connection) as many:
            client.get("/")
        assert len(many) == len(few)

    def test_is_cut_into_pages(self, client: Client, alice: User) -> None:
        Project.objects.bulk_create(Project(owner=alice, name=f"Film {i}") for i in range(25))
        client.force_login(alice)
        assert len(client.get("/").context["cards"]) == 24
        assert len(client.get("/", {"page": 2}).context["cards"]) == 1
        assert client.get("/", {"page": "ž"}).status_code == HTTPStatus.OK
        assert client.get("/", {"page": "ž\x00"}).status_code == HTTPStatus.BAD_REQUEST


class TestNewProject:
    def test_is_made_and_leads_to_its_board(self, client: Client, alice: User) -> None:
        client.force_login(alice)
        answer = client.post(reverse("projects:new"), {"name": "Čierna voda", "style": "16 mm"})
        project = Project.objects.get()
        assert (project.name, project.style, project.owner) == ("Čierna voda", "16 mm", alice)
        assert answer["Location"] == reverse("generation:board", args=[project.pk])

    @pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\x00b"])
    def test_bad_names(self, client: Client, alice: User, name: str) -> None:
        client.force_login(alice)
        answer = client.post(reverse("projects:new"), {"name": name})
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert b'aria-invalid="true"' in answer.content
        assert not Project.objects.exists()


class TestSceneForm:
    def new(self, client: Client, project: Project, **fields: object) -> HttpResponse:
        address = reverse("projects:scene_new", args=[project.pk])
        return cast(HttpResponse, client.post(address, fields))

    def numbers(self, project: Project) -> list[str]:
        return list(project.scenes.values_list("number", flat=True))

    def test_proposes_the_next_number_and_the_last_place(
        self, client: Client, alice: User, project: Project, scene: Scene
    ) -> None:
        client.force_login(alice)
        form = client.get(reverse("projects:scene_new", args=[project.pk])).context["form"]
        assert form["number"].value() == "13"
        assert form["after"].value() == scene.pk

    def test_scene_with_cast_lands_on_the_board(
        self, client: Client, bob: User, project: Project, scene: Scene, character: Character
    ) -> None:
        client.force_login(bob)
        answer = self.new(
            client, project, number="12a", title="Búrka", after=scene.pk, cast=[character.pk]
        )
        made = project.scenes.get(number="12A")
        assert list(made.cast.all()) == [character]
        board = reverse("generation:board", args=[project.pk])
        assert answer["Location"] == f"{board}?at={made.pk}#scene-{made.pk}"

    def test_placed_between_others(
        self, client: Client, alice: User, project: Project, scene: Scene
    ) -> None:
        add_scene(project, "13")
        client.force_login(alice)
        self.new(client, project, number="12A", after=scene.pk)
        self.new(client, project, number="0", after="")
        assert self.numbers(project) == ["0", "12", "12A", "13"]

    def test_placed_by_the_address(
        self, client: Client, alice: User, project: Project, scene: Scene
    ) -> None:
        add_scene(project, "13")
        client.force_login(alice)
        address = reverse("projects:scene_new", args=[project.pk])
        form = client.get(address, {"after": scene.pk}).context["form"]
        assert (form["number"].value(), form["after"].value()) == ("12A", scene.pk)
        assert client.get(address, {"after": "\x00"}).status_code == HTTPStatus.BAD_REQUEST

    @pytest.mark.parametrize(
        "number", ["", "12", " 12 ", "1/", "-1", "<b>", "1234567890123", "1\x00"]
    )
    def test_bad_numbers(
        self, client: Client, alice: User, project: Project, scene: Scene, number: str
    ) -> None:
        client.force_login(alice)
        answer = self.new(client, project, number=number, after=scene.pk)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert 'id="id_number_error"' in answer.content.decode()
        assert self.numbers(project) == ["12"]

    def test_the_same_number_in_another_project(
        self, client: Client, alice: User, project: Project, scene: Scene
    ) -> None:
        other = Project.objects.create(owner=alice, name="Other")
        client.force_login(alice)
        self.new(client, other, number="12")
        assert self.numbers(other) == ["12"]

    def test_cast_and_place_of_another_project_are_refused(
        self, client: Client, alice: User, charlie: User, project: Project
    ) -> None:
        theirs = Project.objects.create(owner=charlie, name="Theirs")
        stranger = Character.objects.create(project=theirs, name="Cudzí")
        client.force_login(alice)
        answer = self.new(client, project, number="1", cast=[stranger.pk])
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        answer = self.new(client, project, number="1", after=add_scene(theirs, "1").pk)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "Cudzí" not in answer.content.decode()

    def test_edit_keeps_its_place_unless_moved(
        self, client: Client, alice: User, project: Project, scene: Scene
    ) -> None:
        middle, last = add_scene(project, "13"), add_scene(project, "14")
        client.force_login(alice)
        address = reverse("projects:scene_edit", args=[middle.pk])
        client.post(address, {"number": "13", "title": "Nová", "after": scene.pk})
        middle.refresh_from_db()
        assert (middle.title, self.numbers(project)) == ("Nová", ["12", "13", "14"])
        client.post(address, {"number": "13", "after": last.pk})
        assert self.numbers(project) == ["12", "14", "13"]
        client.post(address, {"number": "13", "after": ""})
        assert self.numbers(project) == ["13", "12", "14"]

    def test_htmx_gets_an_event_or_the_form_alone(
        self, client: Client, alice: User, scene: Scene
    ) -> None:
        client.force_login(alice)
        address = reverse("projects:scene_edit", args=[scene.pk])
        htmx = {"HX-Request": "true"}
        answer = client.post(address, {"number": "12", "title": "Nová"}, headers=htmx)
        assert (answer.status_code, answer["HX-Trigger"]) == (204, "scene-changed")
        answer = client.post(address, {"number": ""}, headers=htmx)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert answer.content.decode().lstrip().startswith("<form")

    def test_number_taken_meanwhile(
        self,
        client: Client,
        alice: User,
        project: Project,
        scene: Scene,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Two people send the same number: both forms found it free, one row is written."""
        client.force_login(alice)
        monkeypatch.setattr("projects.forms.SceneForm.clean_number", lambda form: "12")
        answer = self.new(client, project, number="12")
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "just used this number" in answer.content.decode()

    def test_no_more_queries_for_a_larger_cast(
        self, client: Client, alice: User, project: Project
    ) -> None:
        client.force_login(alice)
        address = reverse("projects:scene_new", args=[project.pk])

        def ask() -> int:
            with CaptureQueriesContext(connection) as queries:
                client.get(address)
            return len(queries)

        Character.objects.create(project=project, name="Miro")
        few = ask()
        for i in range(20):
            add_take(project, character=Character.objects.create(project=project, name=f"{i}"))
            add_scene(project, f"{i}")
        assert ask() == few


class TestNumbers:
    def test_one_more_than_the_highest(self, project: Project) -> None:
        assert next_number(project) == "1"
        for number in ("7", "12A", "EXT", "9"):
            add_scene(project, number)
        assert next_number(project) == "13"

    def test_letters_for_what_comes_between(self, project: Project) -> None:
        first = add_scene(project, "12")
        assert next_number(project, first) == "13", "nothing follows: no letter needed"
        add_scene(project, "13")
        assert next_number(project, first) == "12A"
        inserted = add_scene(project, "12A")
        place(inserted, first)
        assert next_number(project, inserted) == "12B"

    def test_shared_positions_stay_in_their_order(self, project: Project) -> None:
        rows = [Scene(project=project, number=str(i), position=5, pk=f"s{i}") for i in range(3)]
        Scene.objects.bulk_create(rows)
        place(Scene(project=project, number="1A"), rows[1])
        assert [scene.number for scene in project.scenes.all()] == ["0", "1", "1A", "2"]
        assert predecessor(rows[0]) is None

    def test_placing_does_not_mark_the_others_as_changed(self, project: Project) -> None:
        other = add_scene(project, "1")
        long_ago = timezone.now() - timedelta(days=3)
        Scene.objects.filter(pk=other.pk).update(updated_at=long_ago)
        place(Scene(project=project, number="0"), None)
        other.refresh_from_db()
        assert other.updated_at == long_ago


class TestDeleting:
    def order(self, project: Project, **of: object) -> None:
        model = KieModel.objects.create(model_id="m", name="M", vendor="V")
        Generation.objects.create(
            project=project,
            ordered_by=project.owner,
            order_key="k",
            provider="kie",
            model=model,
            prompt="p",
            aspect_ratio="16:9",
            request={},
            price=600,
            kie_credits=600,
            cost=30000,
            **of,
        )

    @pytest.mark.parametrize("kind", ["scene", "character"])
    def test_asks_first_then_deletes(
        self,
        client: Client,
        bob: User,
        project: Project,
        scene: Scene,
        character: Character,
        kind: str,
    ) -> None:
        thing = {"scene": scene, "character": character}[kind]
        scene.cast.add(character)
        client.force_login(bob)
        address = reverse(f"projects:{kind}_delete", args=[thing.pk])
        assert b"Keep" in client.get(address).content
        assert type(thing)._default_manager.filter(pk=thing.pk).exists()
        answer = client.post(address)
        assert answer["Location"] == reverse("generation:board", args=[project.pk])
        assert not type(thing)._default_manager.filter(pk=thing.pk).exists()

    @pytest.mark.parametrize("what", ["take", "order"])
    @pytest.mark.parametrize("kind", ["scene", "character"])
    def test_not_what_has_takes_or_orders(
        self,
        client: Client,
        alice: User,
        project: Project,
        scene: Scene,
        character: Character,
        kind: str,
        what: str,
    ) -> None:
        thing = {"scene": scene, "character": character}[kind]
        if what == "take":
            add_take(project, **{kind: thing})
        else:
            self.order(project, **{kind: thing})
        client.force_login(alice)
        answer = client.post(reverse(f"projects:{kind}_delete", args=[thing.pk]))
        assert answer.status_code == HTTPStatus.CONFLICT
        assert "cannot be deleted" in answer.content.decode()
        assert type(thing)._default_manager.filter(pk=thing.pk).exists()

    def test_project_with_bare_scenes(
        self, client: Client, alice: User, project: Project, scene: Scene
    ) -> None:
        client.force_login(alice)
        client.post(reverse("projects:delete", args=[project.pk]))
        assert not Project.objects.exists()

    def test_not_a_project_with_orders(
        self, client: Client, alice: User, project: Project, scene: Scene
    ) -> None:
        self.order(project, scene=scene)
        client.force_login(alice)
        answer = client.post(reverse("projects:delete", args=[project.pk]))
        assert answer.status_code == HTTPStatus.CONFLICT
        assert Scene.objects.filter(pk=scene.pk).exists(), "nothing of it went"


def png(width: int = 64, height: int = 36) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(data, "PNG")
    return data.getvalue()


class TestUploading:
    def send(self, client: Client, subject: Scene | Character, data: bytes) -> HttpResponse:
        kind = subject._meta.model_name
        file = SimpleUploadedFile("záber <1>.png", data, "image/png")
        address = reverse(f"projects:{kind}_upload", args=[subject.pk])
        return cast(HttpResponse, client.post(address, {"picture": file}))

    def test_becomes_a_take_that_is_shown(
        self, client: Client, bob: User, project: Project, character: Character
    ) -> None:
        earlier = add_take(project, character=character)
        client.force_login(bob)
        answer = self.send(client, character, png())
        assert answer["Location"] == reverse("generation:subject", args=["character", character.pk])
        take = character.takes.exclude(pk=earlier.pk).get()
        character.refresh_from_db()
        assert character.chosen == take
        assert (take.made_by, take.project, take.width, take.height) == (bob, project, 64, 36)
        picture = client.get(reverse("projects:picture", args=[take.pk]))
        assert b"".join(picture) == png()

    def test_of_a_scene(self, client: Client, alice: User, scene: Scene) -> None:
        client.force_login(alice)
        self.send(client, scene, png())
        assert scene.takes.get().character is None

    @pytest.mark.parametrize("data", [b"x", b"<svg/>", b"\x89PNG\r\n\x1a\nbroken", b""])
    def test_what_is_no_picture_is_refused_in_words(
        self, client: Client, alice: User, scene: Scene, data: bytes
    ) -> None:
        client.force_login(alice)
        answer = self.send(client, scene, data)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert 'id="id_picture_error"' in answer.content.decode()
        assert not Take.objects.exists()

    def test_nothing_sent(self, client: Client, alice: User, scene: Scene) -> None:
        client.force_login(alice)
        answer = client.post(reverse("projects:scene_upload", args=[scene.pk]))
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY

    def test_too_large_is_not_even_read(
        self, client: Client, alice: User, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("projects.pictures.MAX_BYTES", 50)
        client.force_login(alice)
        assert "40" in self.send(client, scene, png()).content.decode()
        assert not Take.objects.exists()

    def test_storage_that_fails_is_said(
        self, client: Client, alice: User, scene: Scene, settings: Any, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        settings.MEDIA_ROOT = tmp_path / "file"
        client.force_login(alice)
        answer = self.send(client, scene, png())
        assert "could not be stored" in answer.content.decode()
        assert not Take.objects.exists()


class TestChoosing:
    def test_choose_and_take_back(
        self, client: Client, bob: User, project: Project, scene: Scene, take: Take
    ) -> None:
        add_take(project, scene=scene)
        client.force_login(bob)
        address = reverse("projects:take_choose", args=[take.pk])
        answer = client.post(address)
        scene.refresh_from_db()
        assert scene.chosen == take
        assert answer["Location"] == reverse("generation:subject", args=["scene", scene.pk])
        client.post(address, {"chosen": "no"})
        scene.refresh_from_db()
        assert scene.chosen is None

    def test_taking_back_another_take_changes_nothing(
        self, client: Client, alice: User, project: Project, scene: Scene, take: Take
    ) -> None:
        other = add_take(project, scene=scene)
        client.force_login(alice)
        client.post(reverse("projects:take_choose", args=[take.pk]))
        client.post(reverse("projects:take_choose", args=[other.pk]), {"chosen": "no"})
        scene.refresh_from_db()
        assert scene.chosen == take

    def test_the_words_of_the_scene_did_not_change(
        self, client: Client, alice: User, scene: Scene, take: Take
    ) -> None:
        before = Scene.objects.get(pk=scene.pk).updated_at
        client.force_login(alice)
        answer = client.post(
            reverse("projects:take_choose", args=[take.pk]), headers={"HX-Request": "true"}
        )
        assert answer["HX-Trigger"] == "scene-changed"
        assert Scene.objects.get(pk=scene.pk).updated_at == before

    def test_goes_on_where_the_form_says_but_only_here(
        self, client: Client, alice: User, scene: Scene, take: Take
    ) -> None:
        client.force_login(alice)
        address = reverse("projects:take_choose", args=[take.pk])
        assert client.post(address, {"next": "/queue/"})["Location"] == "/queue/"
        evil = client.post(address, {"next": "https://evil.example/"})
        assert evil["Location"] == reverse("generation:subject", args=["scene", scene.pk])

    def test_a_take_of_nothing_cannot_be_chosen(self, client: Client, alice: User) -> None:
        take = Take.objects.create(made_by=alice, image="takes/a.png")
        client.force_login(alice)
        answer = client.post(reverse("projects:take_choose", args=[take.pk]))
        assert answer.status_code == HTTPStatus.NOT_FOUND

    def test_reading_does_not_choose(self, client: Client, alice: User, take: Take) -> None:
        client.force_login(alice)
        answer = client.get(reverse("projects:take_choose", args=[take.pk]))
        assert answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED
