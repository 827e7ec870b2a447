"""Every take has a receipt: what was asked, held, charged or given back, and what KIE took."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from generation import lifecycle, reconcile
from generation.models import Difference, Generation, State, TakenBack
from projects.models import Character, Member, Project, Role, Scene, Take
from tests import stages
from tests.open_page import OpenPage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


@pytest.fixture
def scene(project: Project) -> Scene:
    stages.give_credits(project.owner, 100_000)
    return stages.add_scene(project, "12A")


def get(user: User, address: str, **headers: str) -> Any:
    client = Client()
    client.force_login(user)
    return client.get(address, headers=headers)


def receipt_of(order: Generation) -> str:
    """Its words."""
    answer = get(order.ordered_by, reverse("generation:order", args=[order.pk]))
    assert answer.status_code == 200
    return words(answer.content.decode())


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def upload(scene: Scene, **fields: Any) -> Take:
    return Take.objects.create(
        project=scene.project, scene=scene, made_by=scene.project.owner, **fields
    )


# From a take to its receipt


def test_every_take_of_a_page_is_one_click_from_its_receipt(scene: Scene, project: Project) -> None:
    person = Character.objects.create(project=project, name="Miro", description="A man")
    for subject in (scene, person):
        takes = [stages.done(stages.ordered(subject)), stages.done(stages.ordered(subject))]
        page = reverse("generation:subject", args=[type(subject).__name__.lower(), subject.pk])
        html = get(project.owner, page).content.decode()
        for take in takes:
            assert reverse("generation:order", args=[take.output.generation_id]) in html
    uploaded = upload(scene, image="takes/a.png")
    page = reverse("generation:subject", args=["scene", scene.pk])
    assert reverse("generation:receipt", args=[uploaded.pk]) in (
        get(project.owner, page).content.decode()
    )


def test_the_picture_on_a_card_is_one_click_from_its_receipt(
    scene: Scene, project: Project
) -> None:
    take = stages.done(stages.ordered(scene))
    address = reverse("generation:receipt", args=[take.pk])
    board = get(project.owner, reverse("generation:board", args=[project.pk]))
    assert address in board.content.decode()
    order = reverse("generation:order", args=[take.output.generation_id])
    assert get(project.owner, address)["Location"] == order


def test_an_uploaded_take_says_so(scene: Scene, alice: User) -> None:
    take = upload(scene, image="takes/a.png", width=90, height=60, size=2048, sha256="ab" * 32)
    told = words(get(alice, reverse("generation:receipt", args=[take.pk])).content.decode())
    assert "Nothing was held or charged for it, and KIE was not asked." in told
    assert "Uploaded by alice" in told
    assert "90 × 60 · 2.0" in told


def test_a_take_of_an_older_system_says_so(scene: Scene, alice: User) -> None:
    take = upload(scene, source_url="https://old.example/1.png")
    told = words(get(alice, reverse("generation:receipt", args=[take.pk])).content.decode())
    assert "What it cost stands in the books of that system" in told


def test_who_may_see_the_receipt_of_a_take(
    scene: Scene, bob: User, charlie: User, staff: User
) -> None:
    for take in (upload(scene, image="takes/a.png"), stages.done(stages.ordered(scene))):
        address = reverse("generation:receipt", args=[take.pk])
        assert Client().get(address).status_code == 302
        assert get(charlie, address).status_code == 404
        assert get(staff, address).status_code == 404
        assert get(bob, address).status_code in (200, 302)


# What KIE took, against what was booked


def test_kie_used_what_was_booked(scene: Scene) -> None:
    order = stages.ordered(scene)
    stages.done(order)
    told = receipt_of(order)
    assert "Credits booked for KIE 6.5 Credits that KIE used 6.5 KIE used what was booked." in told
    assert f"KIE task task-{order.pk}" in told
    assert "Real cost $0.0325" in told


def test_kie_used_something_else(scene: Scene) -> None:
    order = stages.ordered(scene)
    stages.done(order)
    Generation.objects.update(kie_credits_used=800)
    found = Difference.objects.create(generation=order, booked=650, used=800)
    told = receipt_of(order)
    assert "Credits that KIE used 8 KIE used something else than was booked." in told
    assert "Your price stays what it is; staff look into the difference." in told
    assert "KIE used what was booked." not in told
    reconcile.settle(Difference.objects.filter(pk=found.pk), "dearer")
    assert "staff have looked into it." in receipt_of(order)
    assert "dearer" not in receipt_of(order)


def test_kie_took_nothing_for_a_failure(scene: Scene) -> None:
    order = stages.failed(stages.ordered(scene))
    assert "Credits that KIE used not said KIE has not said what it used." in receipt_of(order)
    lifecycle.keep_used(order, 0)
    told = receipt_of(order)
    assert "Credits booked for KIE 0 Credits that KIE used 0 KIE used what was booked." in told
    assert "Given back 6.5" in told
    lifecycle.keep_used(order, 650)
    assert "KIE used something else than was booked." in receipt_of(order)


def test_what_was_never_sent_and_what_nobody_knows(scene: Scene) -> None:
    cancelled = stages.ordered(scene)
    lifecycle.cancel(cancelled)
    told = receipt_of(cancelled)
    assert "Credits booked for KIE 0 Credits that KIE used 0 It was never sent to KIE." in told
    assert "Whether KIE had it is not known." in receipt_of(stages.lost(stages.ordered(scene)))


def test_who_may_take_credits_back_can_do_it_there(scene: Scene, alice: User) -> None:
    order = stages.running(stages.ordered(scene))
    assert "Take my credits back" in receipt_of(order)
    viewer = User.objects.create_user("dana")
    Member.objects.create(project=scene.project, user=viewer, role=Role.VIEWER)
    seen = get(viewer, reverse("generation:order", args=[order.pk])).content.decode()
    assert "credits back" not in seen
    Member.objects.filter(user=viewer).update(role=Role.EDITOR)
    seen = get(viewer, reverse("generation:order", args=[order.pk])).content.decode()
    assert "Give the credits back" in seen, "they are not the editor's"
    assert "my credits" not in seen
    lifecycle.take_back(order, TakenBack.KEEP)
    assert "Take my credits back" not in receipt_of(order)


def test_an_order_under_way_has_no_verdict_yet(scene: Scene) -> None:
    told = receipt_of(stages.running(stages.ordered(scene)))
    assert "Credits booked for KIE 6.5 Credits that KIE used not said What happened" in told


# The trail


def test_the_trail_says_when_the_credits_moved(scene: Scene) -> None:
    order = stages.ordered(scene)
    stages.done(order)
    told = receipt_of(order)
    steps = (
        "Ordered",
        "6.5 credits held",
        "Sent to KIE",
        "KIE has taken it",
        "KIE is at work on it",
        "KIE has made it",
        "The picture is stored",
        "6.5 credits charged",
    )
    places = [told.index(step, told.index("What happened")) for step in steps]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("then", "end"),
    [
        (TakenBack.KEEP, "The picture is stored"),
        (TakenBack.DISCARD, "The picture came and was thrown away"),
    ],
)
def test_credits_that_were_taken_back(scene: Scene, then: TakenBack, end: str) -> None:
    order = stages.running(stages.ordered(scene))
    lifecycle.take_back(order, then)
    order.refresh_from_db()
    told = receipt_of(order)
    assert "The credits are given back. KIE still has the order;" in told
    assert "The credits were taken back; KIE goes on with it" in told
    assert "6.5 credits given back" in told
    if then == TakenBack.KEEP:
        stages.arrive(order)
    else:
        lifecycle.succeeded(stages._claimed(order, State.RUNNING), ["https://kie/1.png"], 650, None)
        lifecycle.discard(stages._claimed(order, State.STORING))
        order.refresh_from_db()
    told = receipt_of(order)
    assert end in told
    assert "KIE used what was booked." in told
    assert "charged" not in told.partition("What happened")[2].partition("What was asked")[0]


def test_what_staff_had_done_is_in_the_trail(scene: Scene) -> None:
    order = stages.lost(stages.ordered(scene))
    lifecycle.adopt(order, "found")
    lifecycle.give_up(stages._claimed(order, State.RUNNING), "lost", "No end of the task")  # type: ignore[arg-type]
    order.refresh_from_db()
    assert lifecycle.try_again(order)
    assert "Staff have asked KIE once more" in receipt_of(order)
    lifecycle.give_up(stages._claimed(order, State.RUNNING), "lost", "No end of the task")  # type: ignore[arg-type]
    lifecycle.hurry(order, "found")
    assert "KIE reports after all" in receipt_of(order)


def test_a_receipt_is_sent_only_when_it_changed(scene: Scene, alice: User) -> None:
    order = stages.running(stages.ordered(scene))
    client = Client()
    client.force_login(alice)
    shown = OpenPage(client, reverse("generation:order", args=[order.pk]))
    assert shown.ask().status_code == 204
    lifecycle.take_back(order, TakenBack.KEEP)
    assert "what comes is free" in shown.changed("order")["order"]
