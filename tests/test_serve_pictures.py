"""The pictures of takes, from a local folder, to those who may see them."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from PIL import Image
from pytest_django import DjangoAssertNumQueries, Settings

from projects.access import issue_token
from projects.models import Character, Member, Project, Role, Scene, Take
from projects.pictures import Picture, check, store

pytestmark = pytest.mark.django_db
BOTH = pytest.mark.parametrize("name", ["picture", "thumbnail"])


@dataclass
class Cast:
    """Alice owns, Bob views, Charlie must be kept out."""

    alice: User
    bob: User
    charlie: User
    take: Take
    picture: Picture

    def get(self, who: User | None, name: str, take: Take | None = None, **headers: Any) -> Any:
        client = Client()
        if who is not None:
            client.force_login(who)
        return client.get(address(take or self.take, name), headers=headers)

    def expected(self, name: str) -> bytes:
        return self.picture.data if name == "picture" else self.picture.thumbnail


def address(take: Take, name: str) -> str:
    return reverse(f"projects:{name}", args=[take.pk])


@pytest.fixture(scope="module")
def picture() -> Picture:
    out = io.BytesIO()
    Image.effect_noise((90, 60), 60).save(out, "JPEG")
    return check(out.getvalue())


@pytest.fixture
def cast(settings: Settings, tmp_path: Path, picture: Picture) -> Cast:
    settings.MEDIA_ROOT = tmp_path
    backend = {"BACKEND": "projects.storage.WholeFileStorage"}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    alice, bob, charlie = (User.objects.create_user(n) for n in ("alice", "bob", "charlie"))
    film = Project.objects.create(owner=alice, name="Hľadanie v psuti")
    Member.objects.create(project=film, user=bob, role=Role.VIEWER)
    scene = Scene.objects.create(project=film, number="12A", position=1)
    take = Take.objects.create(
        project=film, scene=scene, made_by=alice, **asdict(store(picture, "abc-0"))
    )
    return Cast(alice, bob, charlie, take, picture)


@BOTH
def test_owner_and_member_get_the_file(cast: Cast, name: str) -> None:
    for who in (cast.alice, cast.bob):
        answer = cast.get(who, name)
        assert answer.status_code == 200
        assert answer.getvalue() == cast.expected(name)
        assert answer["Content-Type"] == ("image/jpeg" if name == "picture" else "image/webp")
        assert answer["Content-Length"] == str(len(cast.expected(name)))
        assert answer["Cache-Control"] == "private, max-age=31536000, immutable"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Disposition"].startswith("inline")


@BOTH
def test_a_stranger_gets_404(cast: Cast, name: str) -> None:
    assert cast.get(cast.charlie, name).status_code == 404


@BOTH
def test_a_stranger_who_has_the_etag_gets_404(cast: Cast, name: str) -> None:
    etag = cast.get(cast.alice, name)["ETag"]
    assert cast.get(cast.charlie, name, **{"If-None-Match": etag}).status_code == 404
    assert cast.get(cast.charlie, name, **{"If-None-Match": "*"}).status_code == 404


@BOTH
def test_nobody_is_asked_to_log_in(cast: Cast, name: str) -> None:
    answer = cast.get(None, name)
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("account_login"))


@BOTH
def test_a_take_without_a_project_is_its_makers_alone(cast: Cast, name: str) -> None:
    own = Take.objects.create(made_by=cast.bob, **asdict(store(cast.picture, "own-0")))
    assert cast.get(cast.bob, name, own).status_code == 200
    assert cast.get(cast.alice, name, own).status_code == 404


@BOTH
def test_a_program_gets_the_file_with_its_token(cast: Cast, name: str) -> None:
    for who, status in ((cast.bob, 200), (cast.charlie, 404)):
        token = issue_token(who, "script")
        answer = cast.get(None, name, Authorization=f"Bearer {token}")
        assert answer.status_code == status


@BOTH
def test_what_the_browser_has_is_not_sent_again(cast: Cast, name: str) -> None:
    etag = cast.get(cast.alice, name)["ETag"]
    answer = cast.get(cast.alice, name, **{"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer["ETag"] == etag
    assert answer["Cache-Control"] == "private, max-age=31536000, immutable"
    assert cast.get(cast.alice, name, **{"If-None-Match": '"other"'}).status_code == 200


def test_picture_and_thumbnail_are_not_mistaken_for_each_other(cast: Cast) -> None:
    assert cast.get(cast.alice, "picture")["ETag"] != cast.get(cast.alice, "thumbnail")["ETag"]


@BOTH
def test_head_answers_without_the_file(cast: Cast, name: str) -> None:
    client = Client()
    client.force_login(cast.alice)
    answer = client.head(address(cast.take, name))
    assert answer.status_code == 200
    assert answer["Content-Length"] == str(len(cast.expected(name)))
    assert answer.getvalue() == b""


@BOTH
@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_nothing_else_can_be_done_with_it(cast: Cast, name: str, method: str) -> None:
    client = Client()
    client.force_login(cast.alice)
    assert getattr(client, method)(address(cast.take, name)).status_code == 405


@pytest.mark.parametrize("query", ["", "?download=1"])
def test_the_file_has_a_name_that_says_what_it_is(cast: Cast, query: str) -> None:
    client = Client()
    client.force_login(cast.alice)
    answer = client.get(address(cast.take, "picture") + query)
    ending = f"{cast.take.pk[-6:]}.jpg"
    kind = "attachment" if query else "inline"
    assert answer["Content-Disposition"] == (
        f"{kind}; filename*=utf-8''H%C4%BEadanie_v_psuti_12A_{ending}"
    )


def test_a_name_cannot_leave_its_place(cast: Cast) -> None:
    """Names are the users' own: quotes, slashes and line breaks among them."""
    film = Project.objects.create(owner=cast.alice, name='../../etc/"passwd"\r\nX-Evil: 1')
    face = Character.objects.create(project=film, name="…/..\\")
    take = Take.objects.create(
        project=film, character=face, made_by=cast.alice, **asdict(store(cast.picture, "evil-0"))
    )
    answer = cast.get(cast.alice, "picture", take)
    assert answer.status_code == 200
    assert answer["Content-Disposition"].endswith(f'_{take.pk[-6:]}.jpg"')
    for sign in ("/", "\\", "\r", "\n", ":", '"passwd'):
        assert sign not in answer["Content-Disposition"]
    assert "X-Evil" not in answer


@BOTH
def test_a_take_of_which_only_the_link_is_known_has_no_file(cast: Cast, name: str) -> None:
    link = Take.objects.create(
        project=cast.take.project, made_by=cast.alice, source_url="https://kie.example/a.png"
    )
    assert cast.get(cast.alice, name, link).status_code == 404


@BOTH
def test_a_file_that_is_gone_is_404_and_told(
    cast: Cast, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    default_storage.delete(cast.take.image.name)
    default_storage.delete(cast.take.thumbnail.name)
    assert cast.get(cast.alice, name).status_code == 404
    assert "abc-0" in caplog.text


@BOTH
def test_no_such_take(cast: Cast, name: str) -> None:
    client = Client()
    client.force_login(cast.alice)
    assert client.get(reverse(f"projects:{name}", args=["nothing"])).status_code == 404


def test_a_thumbnail_costs_three_questions(
    cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Who asks (session, user) and what for; a board of 100 scenes asks this 100 times."""
    client = Client()
    client.force_login(cast.alice)
    with django_assert_num_queries(3):
        client.get(address(cast.take, "thumbnail"))
