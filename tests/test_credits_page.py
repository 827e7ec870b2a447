"""A person's credits: what there is, what is held, every entry and where it leads."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from generation.models import Generation
from projects.models import Member, Project
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
    what = "12A Scéna 12A hladanie v psuti_nova"
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


def test_fifty_on_a_page_and_no_more_queries(alice: User, project: Project) -> None:
    stages.give_credits(alice, 1_000_000)
    scene = stages.add_scene(project)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(alice)
        return len(captured)

    stages.done(stages.ordered(scene))
    few = queries()
    for _ in range(30):
        stages.done(stages.ordered(scene))
    assert queries() == few
    assert page(alice).count("<tr>") == 50 + 1
    assert page(alice, page="2").count("<tr>") == 13 + 1
    assert Generation.objects.count() == 31
