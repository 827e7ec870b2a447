"""My orders, cancelling one, and the receipt of one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from credits import ledger
from generation import lifecycle
from generation.models import Generation, Reason, State
from projects.models import Member, Project, Role, Scene
from tests import stages
from tests.open_page import OpenPage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

HTMX = {"HX-Request": "true"}
QUEUE = "/queue/"


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


@pytest.fixture
def scene(project: Project) -> Scene:
    stages.give_credits(project.owner, 100_000)
    return stages.add_scene(project, "12A")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def queue(client: Client) -> str:
    return str(client.get(QUEUE).content.decode())


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def receipt(client: Client, order: Generation, **headers: str) -> Any:
    return client.get(reverse("generation:order", args=[order.pk]), headers=headers)


def cancel(client: Client, order: Generation, *, htmx: bool = False, **form: str) -> Any:
    address = reverse("generation:cancel", args=[order.pk])
    return client.post(address, form, headers=HTMX if htmx else {})


# The queue


def test_an_empty_queue_says_what_it_is_for(client: Client) -> None:
    assert "Nothing is under way." in queue(client)
    assert "data-again" not in queue(client)


def test_my_orders_with_their_place_in_line(client: Client, scene: Scene, charlie: User) -> None:
    stages.give_credits(charlie, 1000)
    stages.ordered_alone(charlie)  # before me
    waiting, working = stages.ordered(scene), stages.running(stages.ordered(scene))
    told = words(queue(client))
    assert "12A Scéna 12A hladanie v psuti_nova 2nd in line" in told
    assert "Generating" in told
    html = queue(client)
    assert reverse("generation:cancel", args=[waiting.pk]) in html
    assert f'id="cancel-{waiting.pk}"' in html
    assert f'id="cancel-{working.pk}"' not in html
    assert "6.5 credits" in html
    assert 'data-again="5"' in html  # its place depends on others


def test_the_list_is_sent_only_when_it_changed(client: Client, scene: Scene) -> None:
    order = stages.ordered(scene)
    shown = OpenPage(client, reverse("generation:queue"))
    assert shown.ask().status_code == 204
    stages.running(order)
    assert list(shown.changed()) == ["queue", "news"]
    stages.arrive(order)
    assert {"queue", "balance", "open-orders", "frame"} <= shown.changed().keys()


def test_what_ended(client: Client, scene: Scene) -> None:
    stages.failed(stages.ordered(scene), Reason.RENDER)
    stages.done(stages.ordered(scene))
    html = queue(client)
    assert "The model failed to make the picture. Try again." in html
    assert "not charged" in html
    assert "secret words" not in html
    assert html.count("To the scene") == 1
    assert 'hx-trigger="every' not in html


def test_others_orders_are_not_mine(scene: Scene, bob: User, charlie: User) -> None:
    stages.ordered(scene)
    for other in (bob, charlie):
        assert "12A" not in queue(signed_in(other))
    assert Client().get(QUEUE).status_code == 302


def test_an_order_of_a_project_that_i_may_not_see_any_more_is_gone(scene: Scene, bob: User) -> None:
    stages.ordered(scene, bob)
    assert "12A" in queue(signed_in(bob))
    Member.objects.all().delete()
    assert "12A" not in queue(signed_in(bob))


def test_who_pays_is_said(scene: Scene, bob: User) -> None:
    stages.ordered(scene, bob)
    assert "alice pays" in queue(signed_in(bob))


def test_no_more_queries_when_there_are_more_orders(client: Client, scene: Scene) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            queue(client)
        return len(captured)

    def add() -> None:
        stages.ordered(scene)
        stages.running(stages.ordered(scene))
        stages.done(stages.ordered(scene))
        stages.failed(stages.ordered(scene))

    add()
    few = count()
    for _ in range(6):
        add()
    assert count() == few


# Cancelling


def test_a_waiting_order_is_taken_back_and_costs_nothing(
    client: Client, scene: Scene, alice: User
) -> None:
    order = stages.ordered(scene)
    response = cancel(client, order)
    assert response["Location"] == QUEUE
    assert "Cancelled. Not charged." in queue(client)
    order.refresh_from_db()
    assert order.state == State.CANCELLED
    assert ledger.ledger_of(alice).held == 0


def test_what_has_been_sent_meanwhile_is_not_cancelled_but_the_choice_opens(
    client: Client, scene: Scene
) -> None:
    order = stages.running(stages.ordered(scene))
    html = cancel(client, order, htmx=True, on="board").content.decode()
    assert "KIE may have it already. Say what becomes of the picture." in html
    assert re.search(rf'<details[^>]* id="take-back-{order.pk}" open>', html)
    order.refresh_from_db()
    assert (order.state, order.taken_back) == (State.RUNNING, "")


@pytest.mark.parametrize(
    ("on", "start"),
    [
        ("board", '<li class="scene'),
        ("subject", '<div class="live"'),
        ("queue", '<div class="queue"'),
    ],
)
def test_the_answer_is_what_the_button_stood_on(
    on: str, start: str, client: Client, scene: Scene
) -> None:
    html = cancel(client, stages.ordered(scene), htmx=True, on=on).content.decode()
    assert html.lstrip().startswith(start)
    assert "Cancelled. Not charged." in html
    assert 'id="balance"' in html


def test_who_may_cancel(scene: Scene, bob: User, charlie: User) -> None:
    order = stages.ordered(scene)
    dana = User.objects.create_user("dana")
    Member.objects.create(project=scene.project, user=dana, role=Role.VIEWER)
    for client, status in (
        (Client(), 302),
        (signed_in(charlie), 404),
        (signed_in(dana), 403),
    ):
        assert cancel(client, order).status_code == status
        assert Generation.objects.get().state == State.QUEUED
    cancel(signed_in(bob), order)
    assert Generation.objects.get().state == State.CANCELLED


# The receipt


def test_the_receipt_of_a_picture(client: Client, scene: Scene) -> None:
    order = stages.ordered(scene)
    take = stages.done(order)
    html = receipt(client, order).content.decode()
    told = words(html)
    assert "Charged 6.5 credits ($0.0325)." in told
    assert "Held 6.5" in told
    assert "Charged −6.5" in told
    assert "Credits that KIE used 6.5 KIE used what was booked." in told
    assert f"task-{order.pk}" in told
    trail = ("Ordered", "Sent to KIE", "KIE has taken it", "KIE is at work on it")
    assert all(step in told for step in (*trail, "KIE has made it", "The picture is stored"))
    assert "&quot;model&quot;: &quot;seedream/4.5-text-to-image&quot;" in html
    assert reverse("projects:thumbnail", args=[take.pk]) in html
    assert reverse("generation:subject", args=["scene", scene.pk]) in html
    assert 'hx-trigger="every' not in html


def test_the_receipt_of_a_failure_keeps_kies_words_to_staff(client: Client, scene: Scene) -> None:
    order = stages.failed(stages.ordered(scene), Reason.INPUT)
    html = receipt(client, order).content.decode()
    told = words(html)
    assert "Not charged. The model does not take these settings." in told
    assert "Given back: 6.5 credits." in told
    assert "Given back 6.5" in told
    assert "secret words" not in html


def test_an_open_order_follows_itself(client: Client, scene: Scene) -> None:
    order = stages.ordered(scene)
    html = receipt(client, order).content.decode()
    assert "Held: 6.5 credits" in html
    shown = OpenPage(client, reverse("generation:order", args=[order.pk]))
    assert shown.ask().status_code == 204
    stages.running(order)
    assert list(shown.changed()) == ["order"]


def test_a_late_picture_is_free_and_says_so(client: Client, scene: Scene) -> None:
    order = stages.lost(stages.ordered(scene))
    assert "Not charged." in words(receipt(client, order).content.decode())
    lifecycle.adopt(order, "late")
    stages.arrive(order)
    assert "We found your picture. It is free." in words(receipt(client, order).content.decode())


def test_who_may_see_a_receipt(scene: Scene, bob: User, charlie: User, staff: User) -> None:
    order = stages.ordered(scene)
    assert receipt(Client(), order).status_code == 302
    assert receipt(signed_in(charlie), order).status_code == 404
    assert receipt(signed_in(staff), order).status_code == 404
    assert receipt(signed_in(bob), order).status_code == 200


def test_an_order_without_a_project_is_its_makers_alone(
    alice: User, bob: User, staff: User
) -> None:
    stages.give_credits(alice, 1000)
    order = stages.ordered_alone(alice)
    for other in (bob, staff):
        assert receipt(signed_in(other), order).status_code == 404
        assert cancel(signed_in(other), order).status_code == 404
    assert receipt(signed_in(alice), order).status_code == 200
    assert "ordered by a program" in queue(signed_in(alice))
    cancel(signed_in(alice), order)
    assert Generation.objects.get().state == State.CANCELLED
