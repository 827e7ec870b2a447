"""A person's credits: what there is, what is held, every entry and where it leads."""

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

from generation import lifecycle, orders
from generation.models import ImageSettings, KieModel
from projects.models import Character, Member, Project
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


def page(user: User, **query: str) -> str:
    client = Client()
    client.force_login(user)
    return str(client.get(reverse("generation:credits"), query).content.decode())


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html[html.index("<main") :]).split())


def test_it_needs_a_person() -> None:
    assert Client().get(reverse("generation:credits")).status_code == 302


def test_nothing_yet_says_how_to_get_some(alice: User, staff: User) -> None:
    html = page(alice)
    assert "No credits yet" in html
    assert "Ask the people who run this site" in html
    assert "manage.py" not in html, "a command is for those who run the site"
    assert "A hold sets" in html
    assert "manage.py grant_credits staff 250" in page(staff)


def test_every_entry_with_its_sign_and_what_is_left(alice: User, project: Project) -> None:
    scene = stages.add_scene(project, "12A")
    stages.give_credits(alice, 25_000)
    paid = stages.ordered(scene)
    stages.done(paid)
    stages.failed(stages.ordered(scene))
    stages.ordered(scene)
    html = page(alice)
    told = words(html)
    assert "Available 237 Held 6.5 Balance 243.5" in told
    kie = "KIE AI Seedream 4.5 generation (2K)"
    what = "12A Scéna 12A hladanie v psuti_nova · Receipt"
    rows = [
        f"Held {kie} {what} 6.5 held 243.5",
        f"Given back {kie} {what} 6.5 given back 243.5",
        f"Charged {kie} {what} −6.5 243.5",
        "Granted Granted by staff +250 250",
    ]
    places = [told.index(row) for row in rows]
    assert places == sorted(places)  # newest first
    assert reverse("generation:order", args=[paid.pk]) in html
    assert reverse("generation:board", args=[project.pk]) in html


def test_a_payer_sees_who_ordered(alice: User, bob: User, project: Project) -> None:
    stages.give_credits(alice, 1000)
    stages.ordered(stages.add_scene(project), bob)
    assert "by bob" in words(page(alice))
    assert "hladanie" not in page(bob)


def test_what_may_not_be_seen_is_not_named(alice: User, charlie: User, project: Project) -> None:
    """Charlie paid for a project that is not shared with them any more."""
    member = Member.objects.create(project=project, user=charlie, role=2)
    stages.give_credits(charlie, 1000)
    Project.objects.update(owner=charlie)
    scene = stages.add_scene(Project.objects.get())
    order = stages.ordered(scene)
    Project.objects.update(owner=alice)
    assert reverse("generation:order", args=[order.pk]) in page(charlie)
    member.delete()
    html = page(charlie)
    assert "KIE AI Seedream 4.5 generation (2K)" in html
    assert "hladanie" not in html
    assert "Scéna" not in html
    assert order.pk not in html


def test_an_order_without_a_project_leads_to_its_receipt(alice: User) -> None:
    stages.give_credits(alice, 1000)
    order = stages.ordered_alone(alice)
    assert reverse("generation:order", args=[order.pk]) in page(alice)


def test_a_charge_shows_the_pictures_that_it_paid_for(alice: User, project: Project) -> None:
    stages.give_credits(alice, 10_000)
    scene = stages.add_scene(project)
    take = stages.done(stages.ordered(scene))
    html = page(alice)
    assert html.count(reverse("projects:thumbnail", args=[take.pk])) == 1, "not at the hold, too"
    assert reverse("projects:picture", args=[take.pk]) in html
    assert reverse("generation:subject", args=["scene", scene.pk]) in html


@pytest.fixture
def paid(alice: User, bob: User, project: Project) -> dict[str, Any]:
    """Two projects, two scenes, two people, two models: a charge of 6.5 for each, 6 for one."""
    stages.give_credits(alice, 100_000)
    other = Project.objects.create(owner=alice, name="Other")
    ImageSettings.objects.create(project=other, model="seedream-3.0/2k")
    first, second = stages.add_scene(project, "1"), stages.add_scene(project, "2")
    stages.done(stages.ordered(first, alice))
    stages.done(stages.ordered(second, bob))
    stages.done(stages.ordered(stages.add_character(project), bob))
    stages.done(stages.ordered(stages.add_scene(other, "77"), alice))
    return {"project": project, "other": other, "first": first, "second": second}


def charged(user: User, **query: object) -> str:
    """What the page says is charged in a selection."""
    told = words(page(user, **{name: str(value) for name, value in query.items()}))
    (found,) = re.findall(r"Charged ([\d.,]+) for pictures that are shown now", told)
    return str(found)


def test_it_can_be_selected_by_what_it_went_for(
    alice: User, bob: User, paid: dict[str, Any]
) -> None:
    assert charged(alice) == "25.5"
    assert charged(alice, project=paid["project"].pk) == "19.5"
    assert charged(alice, project=paid["other"].pk) == "6"
    assert charged(alice, person=bob.pk) == "13"
    assert charged(alice, person=bob.pk, project=paid["other"].pk) == "0"
    assert charged(alice, project=paid["project"].pk, subject=paid["second"].pk) == "6.5"
    miro = Character.objects.get(name="Miro")
    assert charged(alice, project=paid["project"].pk, subject=miro.pk) == "6.5"
    seedream3 = KieModel.objects.get(model_id="seedream-3.0/2k")
    assert charged(alice, model=seedream3.pk) == "6"
    assert charged(alice, kind="hold") == "0"
    html = page(alice, kind="grant")
    assert html.count("<tr>") == 1 + 1
    assert "<option" in page(alice, project=paid["project"].pk)
    assert "Scene or character" not in page(alice), "of which project?"


def test_it_can_be_selected_by_days(alice: User, paid: dict[str, Any]) -> None:
    today = timezone.localdate()
    yesterday, tomorrow = today - timedelta(days=1), today + timedelta(days=1)
    assert charged(alice, since=today, until=today) == "25.5"
    assert charged(alice, since=tomorrow) == "0"
    assert charged(alice, until=yesterday) == "0"
    assert "Enter a valid date." in page(alice, since="31.12.2026")
    assert "This is before the day in “From”." in page(alice, since=today, until=yesterday)


@pytest.mark.parametrize(
    ("name", "value"),
    [("project", "nobody"), ("person", "x"), ("model", "0"), ("kind", "everything")],
)
def test_what_is_not_offered_selects_nothing(
    alice: User, paid: dict[str, Any], name: str, value: str
) -> None:
    html = page(alice, **{name: value})
    assert "Select a valid choice." in html
    assert "Receipt" not in html
    assert 'id="entries"' not in html


def test_a_scene_goes_with_its_project(alice: User, paid: dict[str, Any]) -> None:
    """Another project is chosen while a scene of the last one is."""
    chosen = {"project": paid["other"].pk, "subject": paid["second"].pk}
    assert charged(alice, **chosen) == "6"
    assert "Select a valid choice." not in page(alice, **chosen)


def test_nothing_is_summed_up_that_was_not_understood(alice: User, paid: dict[str, Any]) -> None:
    assert 'id="sums"' in page(alice)
    assert 'id="sums"' not in page(alice, model="0")


def test_others_are_not_offered_and_not_counted(
    alice: User, bob: User, charlie: User, paid: dict[str, Any]
) -> None:
    for user in (bob, charlie):
        html = page(user, project=paid["project"].pk)
        assert "Select a valid choice." in html
        assert "Scéna" not in html


def test_what_is_shown_now_is_kept(alice: User, project: Project) -> None:
    stages.give_credits(alice, 100_000)
    scene = stages.add_scene(project)
    first = stages.done(stages.ordered(scene))
    stages.done(stages.ordered(scene))
    stages.done(stages.ordered_alone(alice))

    def kept() -> tuple[str, str]:
        told = words(page(alice))
        found = re.search(r"for pictures that are shown now ([\d.]+) for others ([\d.]+)", told)
        assert found
        return found[1], found[2]

    assert kept() == ("6.5", "13")
    scene.chosen = first
    scene.save()
    assert kept() == ("6.5", "13")
    stages.add_take(scene)  # an upload, not chosen
    assert kept() == ("6.5", "13")
    scene.chosen = stages.add_take(scene)
    scene.save()
    assert kept() == ("0", "19.5")


def test_of_several_pictures_for_one_price_each_counts_as_its_part(
    alice: User, project: Project
) -> None:
    stages.give_credits(alice, 100_000)
    order = orders.prepare(orders.Wish(project=project, subject=stages.add_scene(project)))
    generation = orders.drawn_up(order, orders.Terms(user=alice, key="k"))
    generation.count, generation.price = 4, 2600
    lifecycle.place([generation])
    stages.done(generation, pictures=2)
    assert "Charged 13 for pictures that are shown now 6.5 for others 6.5" in words(page(alice))


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("person", ["alice 2 orders 12.5", "bob 2 orders 13"]),
        ("project", ["hladanie v psuti_nova 3 orders 19.5", "Other 1 order 6"]),
        ("subject", ["1 Scéna 1 1 order 6.5", "Miro 1 order 6.5", "77 Scéna 77 1 order 6"]),
        ("model", ["Seedream 4.5 3 orders 19.5", "Seedream 3.0 (2K) 1 order 6"]),
    ],
)
def test_the_charges_by_person_project_scene_and_model(
    alice: User, paid: dict[str, Any], by: str, rows: list[str]
) -> None:
    told = words(page(alice, by=by))
    for row in rows:
        assert row in told


def test_an_owner_sees_what_each_member_spent(alice: User, bob: User, paid: dict[str, Any]) -> None:
    html = page(alice)
    assert "bob 2 orders 13" in words(html)
    assert f'href="?person={bob.pk}"' in html
    assert "alice" not in words(page(bob))


def test_fifty_on_a_page(alice: User, project: Project) -> None:
    stages.paid_in_bulk([stages.add_scene(project)], [alice], 31)
    assert page(alice).count("<tr>") == 50 + 1
    assert page(alice, page="2").count("<tr>") == 13 + 1


@pytest.mark.parametrize("by", ["person", "subject"])
def test_as_many_queries_for_10_entries_as_for_10_000(
    alice: User, bob: User, project: Project, by: str
) -> None:
    scenes = [stages.add_scene(project, number) for number in range(20)]

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(alice, by=by, project=project.pk)
        return len(captured)

    stages.paid_in_bulk(scenes, [alice, bob], 5)
    few = queries()
    stages.paid_in_bulk(scenes, [alice, bob], 4995)
    assert queries() == few
    assert charged(alice) == "30,000"
