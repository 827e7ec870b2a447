"""How a model has done on this site: its speed, its failures, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import django_rq
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from generation import jobs, records
from generation.models import Generation, KieModel, Output, Reason, State
from projects.models import Character, Project, Scene, Take
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


@pytest.fixture
def model() -> KieModel:
    return KieModel.objects.get(model_id="seedream-3.0/2k")


@pytest.fixture
def scene(project: Project) -> Scene:
    return stages.add_scene(project)


def order(model: KieModel, user: User, **facts: Any) -> Generation:
    """An order that has ended, ten minutes ago."""
    sent = timezone.now() - timedelta(minutes=10)
    usual: dict[str, Any] = {"state": State.DONE, "submitted_at": sent, "price": 600}
    seconds = facts.pop("seconds", 20)
    ago = facts.pop("days_ago", 0)
    made = Generation.objects.create(
        model=model,
        ordered_by=user,
        order_key=uuid4().hex,
        provider="kie",
        request={},
        kie_credits=600,
        cost=30_000,
        finished_at=sent + timedelta(seconds=seconds),
        **usual | facts,
    )
    Generation.objects.filter(pk=made.pk).update(created_at=sent - timedelta(days=ago))
    return made


def brought(made: Generation, subject: Scene | Character, number: int = 1) -> list[Take]:
    takes = [stages.add_take(subject) for _ in range(number)]
    for index, take in enumerate(takes):
        Output.objects.create(generation=made, index=index, url="https://kie/1.png", take=take)
    return takes


def record_of(model: KieModel) -> records.Record:
    records.find_out()
    return records.all_records().get(model.pk, records.NOTHING)


def test_half_are_quicker_and_nearly_all_are(model: KieModel, alice: User) -> None:
    for seconds in range(1, 101):
        order(model, alice, seconds=seconds)
    record = record_of(model)
    assert (record.usual, record.slow) == (50, 95)


def test_a_few_orders_say_nothing(model: KieModel, alice: User) -> None:
    for _ in range(4):
        order(model, alice)
    record = record_of(model)
    assert (record.usual, record.slow, record.failure_percent, record.kept_percent) == (None,) * 4
    order(model, alice)
    record = record_of(model)
    assert (record.usual, record.slow, record.failure_percent) == (20, 20, 0)


def test_what_was_long_ago_does_not_count(model: KieModel, alice: User) -> None:
    for _ in range(5):
        order(model, alice, days_ago=91, seconds=500)
    assert record_of(model) == records.NOTHING


def test_only_the_last_orders_say_how_long(
    model: KieModel, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LAST", 5)
    for days_ago in range(10):
        order(model, alice, days_ago=days_ago, seconds=10 if days_ago < 5 else 99)
    record = record_of(model)
    assert (record.usual, record.slow, record.ended) == (10, 10, 10)


@pytest.mark.parametrize(
    ("state", "reason", "percent"),
    [
        (State.FAILED, Reason.RENDER, 50),
        (State.FAILED, Reason.EMPTY, 50),
        (State.FAILED, Reason.PICTURE, 50),
        (State.REVIEW, Reason.LOST, 50),
        (State.REVIEW, Reason.EXPIRED, 50),
        (State.FAILED, Reason.CLOSED, 50),
        (State.FAILED, Reason.MODEL, 50),
        (State.FAILED, Reason.INPUT, 50),
        (State.FAILED, Reason.UNSAFE, 0),
        (State.FAILED, Reason.PROMPT, 0),
        (State.FAILED, Reason.UPLOAD, 0),
        (State.CANCELLED, Reason.CANCELLED, 0),
        (State.RUNNING, "", 0),
    ],
)
def test_failures_are_those_that_nobody_asked_for(
    model: KieModel, alice: User, state: State, reason: str, percent: int
) -> None:
    for _ in range(5):
        order(model, alice)
        order(model, alice, state=state, reason=reason)
    assert record_of(model).failure_percent == percent


def test_a_picture_is_kept_where_it_is_shown(model: KieModel, alice: User, scene: Scene) -> None:
    person = stages.add_character(scene.project)  # somebody's own picture is no model's
    for _ in range(3):
        brought(order(model, alice, scene=scene, project=scene.project), scene)
    first = brought(order(model, alice, character=person, project=scene.project), person)[0]
    assert record_of(model).kept_percent is None
    brought(order(model, alice, character=person, project=scene.project), person)
    record = record_of(model)
    assert (record.takes, record.kept, record.kept_percent) == (5, 2, 40)
    Scene.objects.filter(pk=scene.pk).update(chosen=stages.add_take(scene))
    Character.objects.filter(pk=person.pk).update(chosen=first)
    assert record_of(model).kept == 1
    assert record_of(model).per_kept(600) == 3000


def test_an_order_for_no_scene_is_neither_kept_nor_not(
    model: KieModel, alice: User, project: Project
) -> None:
    for _ in range(5):
        made = order(model, alice)
        take = Take.objects.create(made_by=alice, image="takes/1.png", thumbnail="takes/t.webp")
        Output.objects.create(generation=made, index=0, url="https://kie/1.png", take=take)
    assert (record_of(model).takes, record_of(model).paid_for) == (0, 0)


def test_several_pictures_of_one_price_are_paid_once(
    model: KieModel, alice: User, scene: Scene
) -> None:
    brought(order(model, alice, scene=scene, project=scene.project), scene, number=6)
    record = record_of(model)
    assert (record.kept_percent, record.per_kept(400)) == (17, 400)


def test_an_order_that_brought_fewer_is_charged_for_those(
    model: KieModel, alice: User, scene: Scene
) -> None:
    brought(order(model, alice, scene=scene, project=scene.project, count=6), scene, number=4)
    brought(order(model, alice, scene=scene, project=scene.project), scene)
    record = record_of(model)
    assert (record.takes, record.paid_for, record.kept) == (5, 5, 1)
    assert record.per_kept(400) == 2000


@pytest.mark.parametrize(
    ("price", "record", "costs"),
    [
        (900, records.Record(takes=100, kept=61, paid_for=100), 1500),
        (80, records.Record(takes=100, kept=61, paid_for=100), 130),
        (900, records.Record(takes=4, kept=4, paid_for=4), None),
        (900, records.Record(takes=10, kept=0, paid_for=10), None),
    ],
)
def test_credits_a_kept_picture(price: int, record: records.Record, costs: int | None) -> None:
    assert record.per_kept(price) == costs


def test_all_models_at_once(alice: User, scene: Scene) -> None:
    def ask() -> int:
        with CaptureQueriesContext(connection) as captured:
            records.records_since(timezone.now() - records.BACK)
        return len(captured)

    few = ask()
    for model in KieModel.objects.all()[:6]:
        for _ in range(6):
            brought(order(model, alice, scene=scene, project=scene.project), scene)
    assert ask() == few == 3


@pytest.fixture
def bells(django_capture_on_commit_callbacks: Any) -> Iterator[Any]:
    def rung() -> list[str]:
        with django_capture_on_commit_callbacks(execute=True):
            records.all_records()
        return [job.func_name for job in django_rq.get_queue("pictures").get_jobs()]

    yield rung


def test_what_is_known_is_shown_until_a_worker_knows_better(
    model: KieModel, alice: User, bells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order(model, alice)
    with CaptureQueriesContext(connection) as captured:
        assert records.all_records() == {}, "a page does not wait for it"
    assert not any("generation_generation" in query["sql"] for query in captured)
    records.cache.clear()
    assert bells() == ["generation.jobs.measure"], "a worker finds it out"
    jobs.measure()
    django_rq.get_queue("pictures").empty()
    assert records.all_records()[model.pk].ended == 1
    order(model, alice)
    assert bells() == []
    assert records.all_records()[model.pk].ended == 1
    records.cache.delete(records.FRESH)
    assert bells() == ["generation.jobs.measure"]
    assert bells() == ["generation.jobs.measure"], "once is enough"
    assert records.all_records()[model.pk].ended == 1
    jobs.measure()
    assert records.all_records()[model.pk].ended == 2
