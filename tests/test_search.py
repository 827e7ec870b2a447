"""The search above the scenes: what it finds, beside filters and pages, and what it says."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from projects.models import Character, Project, Scene
from projects.search import LONGEST, scenes_with
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


@pytest.fixture
def saman(project: Project) -> Character:
    return Character.objects.create(project=project, name="Šaman Ďuro", description="Starý")


@pytest.fixture
def film(project: Project, saman: Character) -> Project:
    """12: Úsvit, with the shaman; 12A: the well; 13: nothing of either."""
    for number, title, description in (
        ("12", "Úsvit", "Dva STANY a para"),
        ("12A", "Studňa", "Kamenná studňa"),
        ("13", "", "Stena piesku"),
    ):
        scene = stages.add_scene(project, number, description)
        Scene.objects.filter(pk=scene.pk).update(title=title)
    project.scenes.get(number="12").cast.add(saman)
    return project


@pytest.fixture
def client(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def found(project: Project, words: str) -> list[str]:
    return list(scenes_with(project, words).values_list("number", flat=True))


def board(client: Client, project: Project, **query: str) -> str:
    address = reverse("generation:board", args=[project.pk])
    return client.get(address, query).content.decode()


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("12a", ["12A"]),
        ("12", ["12", "12A"]),
        ("ÚSVIT", ["12"]),
        ("usvit", ["12"]),
        ("šaman", ["12"]),
        ("ŠAMAN", ["12"]),
        ("saman duro", ["12"]),
        ("stany", ["12"]),
        ("studna", ["12A"]),
        ("st", ["12", "12A", "13"]),
        ("piesku  stena", ["13"]),
        ("usvit studna", []),
        ("shot", []),
        ("%", []),
        ("_", []),
        ("", ["12", "12A", "13"]),
        ("  ", ["12", "12A", "13"]),
        ("s" * (LONGEST + 1), []),
    ],
)
def test_what_is_found(film: Project, words: str, numbers: list[str]) -> None:
    assert found(film, words) == numbers


def test_words_do_not_run_from_one_text_into_the_next(film: Project) -> None:
    scene = film.scenes.get(number="12")
    scene.title, scene.description = "abc", "def"
    scene.save()
    assert found(film, "cdef") == []


def test_a_name_that_changes_is_found_as_it_is_now(film: Project, saman: Character) -> None:
    saman.name = "Šaman Ľudo"
    saman.save()
    assert found(film, "ludo") == ["12"]
    assert found(film, "duro") == []
    saman.delete()
    assert found(film, "šaman") == []


def test_scenes_of_other_projects_are_not_found(film: Project, alice: User) -> None:
    other = Project.objects.create(owner=alice, name="Other")
    stages.add_scene(other, "99", "Úsvit")
    assert found(film, "úsvit") == ["12"]


def test_no_more_queries_when_there_are_more_scenes(film: Project, saman: Character) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            list(scenes_with(film, "saman"))
        return len(captured)

    few = queries()
    for number in range(200, 260):
        stages.add_scene(film, number).cast.add(saman)
    assert queries() == few == 3


# On the board


def numbers_in(html: str) -> list[str]:
    return re.findall(r'class="number">(\w+)', html)


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_filters_count_what_is_found(client: Client, film: Project, alice: User) -> None:
    stages.give_credits(alice, 10_000)
    stages.failed(stages.ordered(film.scenes.get(number="12A")))
    html = board(client, film, q="12")
    assert numbers_in(html) == ["12", "12A"]
    assert "All 2 Missing 2 Failed 1" in words_of(html)
    assert "?show=failed&amp;q=12" in html or "?q=12&amp;show=failed" in html
    assert numbers_in(board(client, film, q="12", show="failed")) == ["12A"]
    assert 'name="show" value="failed"' in board(client, film, q="12", show="failed")


def test_pages_keep_the_words(client: Client, film: Project) -> None:
    for number in range(100, 170):
        stages.add_scene(film, number, "Kopec")
    html = board(client, film, q="kopec")
    assert len(numbers_in(html)) == 60
    assert "?q=kopec&amp;page=2" in html
    assert len(numbers_in(board(client, film, q="kopec", page="2"))) == 10


def test_nothing_found_says_so_and_leads_out(client: Client, film: Project) -> None:
    html = board(client, film, q="<b>žirafa")
    assert "No scene with “&lt;b&gt;žirafa”" in html
    assert "Clear the search" in html
    assert 'value="&lt;b&gt;žirafa"' in html
    html = board(client, film, q="úsvit", show="failed")
    assert "No scene with “úsvit”" in html
    assert "1 scene of the others has it." in html
    assert "Search all scenes" in html


@pytest.mark.parametrize("words", ["x" * 5000, "a " * 2000, "\ud7ff\ufffd", "'\"\\;--"])
def test_odd_words_are_no_error(client: Client, film: Project, words: str) -> None:
    address = reverse("generation:board", args=[film.pk])
    answer = client.get(address, {"q": words})
    assert answer.status_code == 200
    assert "No scene with" in answer.content.decode()


def test_a_nul_is_refused(client: Client, film: Project) -> None:
    address = reverse("generation:board", args=[film.pk])
    assert client.get(address, {"q": "a\x00"}).status_code == 400


def test_as_one_types_only_the_scenes_come(client: Client, film: Project) -> None:
    address = reverse("generation:board", args=[film.pk])
    headers = {"HX-Request": "true", "HX-Target": "found"}
    answer = client.get(address, {"q": " Šaman ", "show": "missing"}, headers=headers)
    html = answer.content.decode()
    assert numbers_in(html) == ["12"]
    assert "<html" not in html
    assert "1 scene found" in html
    assert re.search(r'id="filters"[^>]* hx-swap-oob="true"', html)
    assert answer["HX-Replace-Url"] == f"{address}?q=%C5%A0aman&show=missing"
    answer = client.get(address, {"q": ""}, headers=headers)
    assert answer["HX-Replace-Url"] == address
