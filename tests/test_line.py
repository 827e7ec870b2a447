"""Whose order is next: single clicks before batches, then who has fewest in flight, then oldest."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from credits import ledger
from generation import breaker, lifecycle, line, orders
from generation.models import Generation, KieModel, Reason, State
from projects.models import Project, Scene

pytestmark = pytest.mark.django_db


@pytest.fixture
def scene(project: Project, catalogue: None, alice: User, bob: User, charlie: User) -> Scene:
    for user in (alice, bob, charlie):
        about = ledger.About()
        ledger.grant(ledger.ledger_of(user), 1_000_000, reference=f"g{user.pk}", about=about)
    return Scene.objects.create(project=project, number="1", position=1, description="Duny")


def order(scene: Scene, user: User, key: str, batch: bool = False, model: str = "") -> Generation:
    wish = orders.prepare(orders.Wish(project=scene.project, subject=scene, model=model))
    return orders.place(wish, orders.Terms(user=user, key=key, batch=batch))


def send_all() -> list[str]:
    """The keys of the orders as they leave; all stay in flight."""
    keys = []
    while generation := lifecycle.claim_next_in_line():
        lifecycle.submitting(generation)
        lifecycle.adopt(generation, f"task-{generation.pk}")
        keys.append(generation.order_key)
    return keys


def placed_in_line(*users: User) -> list[str]:
    found = {pk: place for user in users for pk, place in line.places(user.pk).items()}
    keys = dict(Generation.objects.values_list("pk", "order_key"))
    return [keys[pk] for pk in sorted(found, key=lambda pk: found[pk])]


def test_turns_are_taken(scene: Scene, alice: User, bob: User) -> None:
    for number in range(4):
        order(scene, alice, f"a{number}")
    for number in range(2):
        order(scene, bob, f"b{number}")
    expected = ["a0", "b0", "a1", "b1", "a2", "a3"]
    assert placed_in_line(alice, bob) == expected
    assert send_all() == expected


def test_a_click_goes_before_a_batch(scene: Scene, alice: User, bob: User) -> None:
    for number in range(3):
        order(scene, alice, f"batch{number}", batch=True)
    order(scene, alice, "own click")
    order(scene, bob, "click")
    expected = ["own click", "click", "batch0", "batch1", "batch2"]
    assert placed_in_line(alice, bob) == expected
    assert send_all() == expected


def test_who_has_orders_in_flight_waits_for_who_has_none(
    scene: Scene, alice: User, bob: User
) -> None:
    for number in range(3):
        order(scene, alice, f"sent{number}")
    assert len(send_all()) == 3
    order(scene, alice, "a")
    order(scene, bob, "b0")
    order(scene, bob, "b1")
    assert placed_in_line(alice, bob) == ["b0", "b1", "a"]
    assert send_all() == ["b0", "b1", "a"]


def test_nobody_has_more_than_so_many_in_flight(
    scene: Scene, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "MOST_IN_FLIGHT", 2)
    for number in range(3):
        order(scene, alice, f"a{number}")
    assert send_all() == ["a0", "a1"]
    order(scene, bob, "b")
    assert send_all() == ["b"], "the other one's limit is not theirs"
    first = Generation.objects.get(order_key="a0")
    fail(first)
    assert send_all() == ["a2"], "one has ended, the next may go"


def fail(generation: Generation, why: Reason = Reason.UNSAFE) -> None:
    Generation.objects.filter(pk=generation.pk).update(next_at=timezone.now())
    (claimed,) = lifecycle.claim([generation.pk], State.RUNNING)
    lifecycle.fail(claimed, why, "words")


def test_a_pause_stops_all(scene: Scene, alice: User) -> None:
    order(scene, alice, "a")
    lifecycle.pause("kie", "402")
    assert send_all() == []


class TestBreaker:
    def trip(self, scene: Scene, user: User, why: Iterable[Reason]) -> None:
        for number, reason in enumerate(why):
            order(scene, user, f"fails{number}")
            assert send_all() == [f"fails{number}"]
            fail(Generation.objects.get(order_key=f"fails{number}"), reason)

    def test_a_model_that_fails_in_a_row_is_tried_one_at_a_time(
        self, scene: Scene, alice: User
    ) -> None:
        self.trip(scene, alice, [Reason.RENDER] * breaker.TRIPS_AT)
        order(scene, alice, "a0")
        order(scene, alice, "a1")
        order(scene, alice, "other", model="seedream-3.0/2k")
        assert send_all() == ["other"], "only this model waits"
        self.minute_later()
        assert send_all() == ["a0"], "one goes out to try"
        fail(Generation.objects.get(order_key="a0"), Reason.RENDER)
        assert send_all() == []
        self.minute_later()
        assert send_all() == ["a1"]
        tried = Generation.objects.get(order_key="a1")
        Generation.objects.filter(pk=tried.pk).update(next_at=timezone.now())
        (claimed,) = lifecycle.claim([tried.pk], State.RUNNING)
        lifecycle.succeeded(claimed, ["https://kie/1.png"], None, None)
        order(scene, alice, "a2")
        order(scene, alice, "a3")
        assert send_all() == ["a2", "a3"], "it works again"

    def test_a_try_that_hangs_does_not_keep_the_model_closed(
        self, scene: Scene, alice: User
    ) -> None:
        self.trip(scene, alice, [Reason.RENDER] * breaker.TRIPS_AT)
        self.minute_later()
        order(scene, alice, "a0")
        order(scene, alice, "a1")
        assert send_all() == ["a0"]
        model = KieModel.objects.get(breaker__isnull=False)
        model.breaker.next_try_at -= breaker.TRY_LASTS
        model.breaker.save()
        assert send_all() == []
        tried = Generation.objects.get(order_key="a0")
        tried.submitted_at = timezone.now() - breaker.TRY_LASTS
        tried.save()
        assert send_all() == ["a1"]

    def minute_later(self) -> None:
        model = KieModel.objects.get(breaker__isnull=False)
        model.breaker.next_try_at -= timedelta(minutes=1)
        model.breaker.save()

    def test_a_success_in_between_starts_the_count_again(self, scene: Scene, alice: User) -> None:
        self.trip(scene, alice, [Reason.RENDER] * (breaker.TRIPS_AT - 1))
        breaker.worked(KieModel.objects.get(breaker__isnull=False).pk)
        order(scene, alice, "last")
        send_all()
        fail(Generation.objects.get(order_key="last"), Reason.RENDER)
        order(scene, alice, "next")
        assert send_all() == ["next"]

    def test_a_refused_description_says_nothing_about_the_model(
        self, scene: Scene, alice: User
    ) -> None:
        self.trip(scene, alice, [Reason.UNSAFE] * (breaker.TRIPS_AT + 1))
        order(scene, alice, "next")
        assert send_all() == ["next"]


def test_the_line_costs_the_same_for_many(
    scene: Scene, alice: User, django_assert_max_num_queries: object
) -> None:
    order(scene, alice, "a")
    with django_assert_max_num_queries(6) as few:  # type: ignore[operator]
        line.next_in_line()
    for number in range(20):
        order(scene, alice, f"a{number}")
    with django_assert_max_num_queries(len(few)):  # type: ignore[operator]
        line.next_in_line()
