"""The entries as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from generation.views.credits import defused
from projects.models import Project
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


def download(user: User, language: str = "en", **query: str) -> Any:
    client = Client()
    client.force_login(user)
    address = reverse("generation:credits_csv")
    return client.get(address, query, headers={"Accept-Language": language})


def text(user: User, language: str = "en", **query: str) -> str:
    return b"".join(download(user, language, **query).streaming_content).decode()


def table(user: User, **query: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(user, **query).removeprefix("\ufeff"))))


def test_every_entry_with_numbers_that_can_be_added(
    alice: User, bob: User, project: Project
) -> None:
    stages.give_credits(alice, 25_000)
    stages.done(stages.ordered(stages.add_scene(project, "12A"), bob))
    response = download(alice)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="credits.csv"'
    assert response.streaming
    rows = table(alice)
    assert [row["Kind"] for row in rows] == ["charged", "held", "granted"]
    assert sum(float(row["Change of balance"]) for row in rows) == 243.5
    charge = rows[0]
    assert charge["Change of balance"] == "-6.5"
    assert charge["Change of held"] == "-6.5"
    assert charge["Balance after"] == "243.5"
    assert charge["Real cost ($)"] == "0.0325"
    assert charge["Project"] == "hladanie v psuti_nova"
    assert charge["Scene or character"] == "12A Scéna 12A"
    assert charge["Ordered by"] == "bob"
    assert charge["Model"] == "Seedream 4.5"
    assert charge["Pictures"] == "1"


def test_spreadsheets_know_the_encoding(alice: User) -> None:
    assert text(alice).startswith("\ufeffWhen,Kind,What,")


def test_where_numbers_have_a_comma_columns_have_a_semicolon(alice: User, project: Project) -> None:
    stages.give_credits(alice, 2_550)
    line = text(alice, language="sk").splitlines()[1]
    assert line.count(";") == 12
    assert ";25,5;" in line


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(start: str) -> None:
    assert defused(f"{start}1+1") == f"'{start}1+1"
    assert defused(f"1{start}") == f"1{start}"


def test_what_people_write_is_defused(alice: User, project: Project) -> None:
    Project.objects.update(name='=HYPERLINK("https://evil.example")')
    project.refresh_from_db()
    stages.give_credits(alice, 25_000)
    scene = stages.add_scene(project, "+1", "Duny")
    stages.ordered(scene)
    row = table(alice)[0]
    assert row["Project"] == '\'=HYPERLINK("https://evil.example")'
    assert row["Scene or character"] == "'+1 Scéna +1"


def test_it_is_the_selection_of_the_page(alice: User, bob: User, project: Project) -> None:
    stages.give_credits(alice, 25_000)
    for user in (alice, bob):
        stages.done(stages.ordered(stages.add_scene(project, user.username), user))
    assert len(table(alice)) == 5
    assert [row["Ordered by"] for row in table(alice, person=str(bob.pk))] == ["bob", "bob"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"project": "nobody"}, "Project"),
        ({"person": "nobody"}, "Ordered by"),
        ({"since": "yesterday"}, "From"),
        ({"kind": "stolen"}, "Entries"),
    ],
)
def test_a_wrong_selection_is_no_empty_table(
    alice: User, query: dict[str, str], field: str
) -> None:
    stages.give_credits(alice, 25_000)
    response = download(alice, **query)
    assert response.status_code == 422
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert "Content-Disposition" not in response
    said = response.content.decode().splitlines()
    assert said[0] == "Nothing was selected."
    assert said[1].startswith(f"{field}: ")


def test_it_is_written_while_it_is_read(alice: User, project: Project) -> None:
    """Whatever its length, no more than some hundred entries are at hand at once."""
    scene = stages.add_scene(project)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            text(alice)
        return len(captured)

    stages.paid_in_bulk([scene], [alice], 200)
    few = queries()
    stages.paid_in_bulk([scene], [alice], 800)
    per_500 = 7
    assert queries() - few <= 4 * per_500
    assert len(table(alice)) == 2002


def test_it_is_ones_own(alice: User, bob: User, project: Project) -> None:
    stages.give_credits(alice, 25_000)
    stages.ordered(stages.add_scene(project), bob)
    assert table(bob) == []
    address = reverse("generation:credits_csv")
    assert Client().get(address)["Location"].startswith("/account/login/")
    client = Client()
    client.force_login(alice)
    assert client.post(address).status_code == 405
