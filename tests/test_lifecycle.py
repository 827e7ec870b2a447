"""The ways between the states, and what each does to the hold. KIE is not asked here."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from credits import invariants, ledger
from credits.models import LedgerEntry
from generation import audit, lifecycle, orders
from generation.models import (
    MOST_DEATHS,
    Event,
    Generation,
    Output,
    Pause,
    Reason,
    State,
    TakenBack,
)
from projects.models import Project, Scene, Take
from projects.pictures import Stored

STORED = Stored(
    image="takes/a.png",
    thumbnail="takes/a.thumb.webp",
    content_type="image/png",
    width=16,
    height=9,
    size=100,
    sha256="0" * 64,
)


@pytest.fixture
def scene(project: Project, catalogue: None) -> Scene:
    ledger.grant(
        ledger.ledger_of(project.owner), 1300, reference="g", about=ledger.About(type="grant")
    )
    return Scene.objects.create(project=project, number="1", position=1, description="Duny")


def place(scene: Scene, key: str = "k1") -> Generation:
    user = scene.project.owner
    order = orders.prepare(orders.Wish(project=scene.project, subject=scene))
    return orders.place(order, orders.Terms(user=user, key=key))


def claim(generation: Generation, state: State) -> Generation:
    """The claim of a worker that comes when the step is due."""
    Generation.objects.filter(pk=generation.pk).update(next_at=timezone.now())
    (claimed,) = lifecycle.claim([generation.pk], state)
    return claimed


def sent(generation: Generation) -> Generation:
    claimed = claim(generation, State.QUEUED)
    lifecycle.submitting(claimed)
    return claimed


def running(generation: Generation, task_id: str = "task-1") -> Generation:
    assert lifecycle.adopt(sent(generation), task_id)
    return claim(generation, State.RUNNING)


def storing(generation: Generation, urls: int = 1) -> Generation:
    links = [f"https://kie/{n}.png" for n in range(urls)]
    lifecycle.succeeded(running(generation), links, 650, {"code": 200})
    return claim(generation, State.STORING)


def books(generation: Generation) -> tuple[str, int, int, list[str]]:
    """State, balance, held, and the kinds of entries that this order has."""
    assert invariants.violations() == []
    generation.refresh_from_db()
    book = ledger.ledger_of(generation.payer)  # type: ignore[arg-type]
    entries = LedgerEntry.objects.filter(reference__startswith=f"generation:{generation.pk}:")
    return (
        generation.state,
        book.balance,
        book.held,
        list(entries.order_by("pk").values_list("kind", flat=True)),
    )


@pytest.mark.django_db
class TestTheGoodWay:
    def test_from_the_click_to_the_take(self, scene: Scene) -> None:
        generation = place(scene)
        assert books(generation) == ("queued", 1300, 650, ["hold"])
        (take,) = lifecycle.done(storing(generation), {0: STORED})
        assert books(generation) == ("done", 650, 0, ["hold", "capture"])
        assert (take.scene, take.project, take.image) == (scene, scene.project, "takes/a.png")
        assert Output.objects.get().take == take
        assert (generation.task_id, generation.kie_credits_used) == ("task-1", 650)
        assert generation.finished_at is not None
        states = [e.state for e in generation.events.all()]
        assert states == ["queued", "submitting", "running", "storing", "done"]

    def test_the_charge_says_what_the_document_says(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.done(storing(generation), {0: STORED})
        entry = LedgerEntry.objects.get(kind="capture")
        assert (entry.type, entry.description, entry.project, entry.provider) == (
            "image",
            "KIE AI Seedream 4.5 generation (2K)",
            scene.project_id,
            "kie",
        )
        assert entry.metadata == {"model": "seedream/4.5-text-to-image", "kieCredits": 6.5}
        assert entry.real_cost == 32_500
        assert LedgerEntry.objects.get(kind="hold").real_cost == 0

    def test_every_picture_of_an_order_is_a_take(self, scene: Scene) -> None:
        generation = place(scene)
        takes = lifecycle.done(storing(generation, urls=3), {0: STORED, 2: STORED})
        assert len(takes) == 2
        assert books(generation)[:3] == ("done", 650, 0)
        assert [o.take is not None for o in generation.outputs.all()] == [True, False, True]

    @pytest.mark.parametrize(("came", "charge"), [(1, 480), (3, 1440), (4, 1920), (6, 1920)])
    def test_of_several_pictures_only_those_that_came_are_charged(
        self, scene: Scene, came: int, charge: int
    ) -> None:
        ledger.grant(
            ledger.ledger_of(scene.project.owner), 700, reference="more", about=ledger.About()
        )
        wish = orders.Wish(
            project=scene.project, subject=scene, model="wan/2-7-image", resolution="2K", count=4
        )
        terms = orders.Terms(user=scene.project.owner, key="k")
        generation = orders.place(orders.prepare(wish), terms)
        assert generation.request["input"]["n"] == 4
        assert books(generation)[:3] == ("queued", 2000, 1920)
        lifecycle.done(storing(generation, urls=came), dict.fromkeys(range(came), STORED))
        assert books(generation)[:3] == ("done", 2000 - charge, 0)
        entry = LedgerEntry.objects.get(kind="capture")
        assert entry.metadata["pictures"] == came
        assert entry.real_cost == 4 * 24_000  # KIE bills what it made


@pytest.mark.django_db
class TestPlacing:
    def test_one_click_is_one_order(self, scene: Scene) -> None:
        assert place(scene, "k") == place(scene, "k")
        assert Generation.objects.count() == 1
        assert place(scene, "other") != place(scene, "k")

    def test_without_credits_nothing_is_written(self, scene: Scene) -> None:
        place(scene, "a")
        place(scene, "b")
        with pytest.raises(orders.OrderRefused) as caught:
            place(scene, "c")
        assert (caught.value.code, caught.value.status) == ("credits", 402)
        assert Generation.objects.count() == 2
        assert LedgerEntry.objects.filter(kind="hold").count() == 2

    def test_a_price_that_is_not_the_shown_one(self, scene: Scene) -> None:
        user = scene.project.owner
        order = orders.prepare(orders.Wish(project=scene.project, subject=scene))
        with pytest.raises(orders.OrderRefused) as caught:
            orders.place(order, orders.Terms(user=user, key="k", shown_price=600))
        assert (caught.value.code, caught.value.status) == ("price_changed", 409)
        assert not Generation.objects.exists()


@pytest.mark.django_db
class TestTheHoldGoesBack:
    def test_refused(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.fail(sent(generation), "unsafe", "400: Content policy")
        assert books(generation) == ("failed", 1300, 0, ["hold", "release"])
        assert (generation.reason, generation.detail) == ("unsafe", "400: Content policy")

    def test_failed_render(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.fail(running(generation), "render", "500 Internal server error")
        assert books(generation) == ("failed", 1300, 0, ["hold", "release"])

    def test_cancelled_before_it_was_sent(self, scene: Scene) -> None:
        generation = place(scene)
        assert lifecycle.cancel(generation)
        assert books(generation) == ("cancelled", 1300, 0, ["hold", "release"])
        assert not lifecycle.claim([generation.pk], State.QUEUED)
        assert not lifecycle.cancel(generation)

    def test_not_cancelled_while_it_is_being_sent(self, scene: Scene) -> None:
        generation = place(scene)
        claimed = claim(generation, State.QUEUED)
        assert not lifecycle.cancel(generation)
        lifecycle.submitting(claimed)
        assert not lifecycle.cancel(generation)
        assert books(generation)[:3] == ("submitting", 1300, 650)


@pytest.mark.django_db
class TestNoVerdict:
    def test_it_is_never_sent_again(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.unclear(sent(generation), "HTTP 502")
        assert books(generation)[:3] == ("unknown", 1300, 650)
        assert not lifecycle.claim([generation.pk], State.QUEUED)
        lifecycle.sweep()
        assert books(generation)[0] == "unknown"

    def test_a_worker_that_died_while_sending(self, scene: Scene) -> None:
        generation = place(scene)
        sent(generation)
        lifecycle.sweep()
        assert books(generation)[0] == "submitting", "its lease still runs"
        expire_lease(generation)
        lifecycle.sweep()
        assert books(generation)[:3] == ("unknown", 1300, 650)

    def test_after_half_an_hour_the_hold_goes_back(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.unclear(sent(generation), "HTTP 502")
        due = Generation.objects.get().next_at - timezone.now()
        assert timedelta(minutes=29) < due <= timedelta(minutes=30)
        Generation.objects.update(next_at=timezone.now())
        lifecycle.sweep()
        assert books(generation) == ("review", 1300, 0, ["hold", "release"])
        assert generation.reason == Reason.LOST

    def test_a_callback_brings_it_back(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.unclear(sent(generation), "HTTP 502")
        assert lifecycle.adopt(generation, "task-9")
        assert books(generation)[:3] == ("running", 1300, 650)
        assert not lifecycle.adopt(generation, "task-10"), "one order, one task"
        assert Generation.objects.get().task_id == "task-9"

    def test_a_late_picture_is_free(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.unclear(sent(generation), "HTTP 502")
        Generation.objects.update(next_at=timezone.now())
        lifecycle.sweep()
        assert lifecycle.adopt(generation, "task-9")
        lifecycle.succeeded(claim(generation, State.RUNNING), ["https://kie/1.png"], None, None)
        lifecycle.done(claim(generation, State.STORING), {0: STORED})
        assert books(generation) == ("done", 1300, 0, ["hold", "release"])
        assert (generation.reason, Take.objects.count()) == ("", 1)

    def test_a_day_without_an_end(self, scene: Scene) -> None:
        generation = place(scene)
        running(generation)
        Generation.objects.update(submitted_at=timezone.now() - timedelta(hours=25))
        expire_lease(generation)
        lifecycle.ask_again(claim(generation, State.RUNNING))
        assert books(generation) == ("review", 1300, 0, ["hold", "release"])

    def test_another_orders_task_is_not_taken(self, scene: Scene) -> None:
        first, second = place(scene, "1"), place(scene, "2")
        running(first, "task-1")
        with pytest.raises(lifecycle.TaskTaken):
            lifecycle.adopt(sent(second), "task-1")
        assert books(second)[0] == "submitting"

    def test_a_task_that_reports_after_we_gave_up(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.give_up(running(generation), Reason.LOST, "a day")
        lifecycle.hurry(generation, "another-task")
        assert books(generation)[0] == "review"
        lifecycle.hurry(generation, "task-1")
        assert books(generation) == ("running", 1300, 0, ["hold", "release"])

    def test_a_refused_order_whose_task_turns_up_is_free(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.fail(sent(generation), "input", "422")
        assert lifecycle.adopt(generation, "task-9")
        lifecycle.succeeded(claim(generation, State.RUNNING), ["https://kie/1.png"], None, None)
        lifecycle.done(claim(generation, State.STORING), {0: STORED})
        assert books(generation) == ("done", 1300, 0, ["hold", "release"])


@pytest.mark.django_db
class TestLeases:
    def test_one_worker_at_a_time(self, scene: Scene) -> None:
        generation = place(scene)
        assert lifecycle.claim([generation.pk], State.QUEUED)
        assert not lifecycle.claim([generation.pk], State.QUEUED)

    def test_not_before_it_is_due(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.send_back(claim(generation, State.QUEUED), 60, "429")
        assert not lifecycle.claim([generation.pk], State.QUEUED)
        generation.refresh_from_db()
        assert (generation.attempts, generation.submitted_at) == (1, None)

    @pytest.mark.parametrize(
        "step",
        [
            lambda g: lifecycle.done(g, {0: STORED}),
            lambda g: lifecycle.fail(g, "picture", "x"),
            lambda g: lifecycle.put_off(g, "x"),
            lambda g: lifecycle.give_up(g, Reason.EXPIRED, "x"),
            lifecycle.renew,
        ],
    )
    def test_who_lost_the_lease_writes_nothing(self, scene: Scene, step: Any) -> None:
        generation = place(scene)
        slow = storing(generation)
        expire_lease(generation)
        claim(generation, State.STORING)  # another worker
        events = Event.objects.count()
        with pytest.raises(lifecycle.LeaseLost):
            step(slow)
        assert books(generation)[:3] == ("storing", 1300, 650)
        assert (Event.objects.count(), Take.objects.count()) == (events, 0)

    def test_only_one_of_two_storers_charges(self, scene: Scene) -> None:
        generation = place(scene)
        slow = storing(generation)
        expire_lease(generation)
        quick = claim(generation, State.STORING)
        lifecycle.done(quick, {0: STORED})
        with pytest.raises(lifecycle.LeaseLost):
            lifecycle.done(slow, {0: STORED})
        assert books(generation) == ("done", 650, 0, ["hold", "capture"])
        assert Take.objects.count() == 1

    def test_a_renewed_lease_holds(self, scene: Scene) -> None:
        generation = place(scene)
        slow = storing(generation)
        Generation.objects.update(lease_until=timezone.now() + timedelta(seconds=1))
        lifecycle.renew(slow)
        assert Generation.objects.get().lease_until > timezone.now() + timedelta(seconds=15)


@pytest.mark.django_db
def test_trouble_with_storage_is_put_off_longer_and_longer(scene: Scene) -> None:
    generation = place(scene)
    claimed = storing(generation)
    waits = []
    for _ in range(4):
        lifecycle.put_off(claimed, "storage is down")
        waits.append((Generation.objects.get().next_at - timezone.now()).total_seconds())
        claimed = claim(generation, State.STORING)
    assert waits == sorted(waits) and waits[-1] > 2 * waits[0]
    Generation.objects.update(submitted_at=timezone.now() - timedelta(hours=25))
    claimed.refresh_from_db()
    lifecycle.put_off(claimed, "storage is down")
    assert books(generation) == ("review", 1300, 0, ["hold", "release"])


@pytest.mark.django_db
class TestTakenBack:
    """KIE has it and cannot be stopped; the credits go back now."""

    @pytest.mark.parametrize("stage", [sent, running, storing])
    @pytest.mark.parametrize("then", TakenBack)
    def test_the_credits_go_back_at_once(self, scene: Scene, stage: Any, then: TakenBack) -> None:
        generation = place(scene)
        stage(generation)
        before = Generation.objects.get()
        assert lifecycle.take_back(generation, then)
        assert books(generation) == (before.state, 1300, 0, ["hold", "release"])
        assert not lifecycle.take_back(generation, then), "once"
        assert audit.violations() == []

    def test_what_still_comes_is_free(self, scene: Scene) -> None:
        generation = place(scene)
        followed = running(generation)
        assert lifecycle.take_back(generation, TakenBack.KEEP)
        lifecycle.succeeded(followed, ["https://kie/1.png"], 650, None)
        lifecycle.done(claim(generation, State.STORING), {0: STORED})
        assert books(generation) == ("done", 1300, 0, ["hold", "release"])
        assert Take.objects.count() == 1
        assert audit.violations() == []

    def test_what_is_not_wanted_is_thrown_away(self, scene: Scene) -> None:
        generation = place(scene)
        followed = running(generation)
        assert lifecycle.take_back(generation, TakenBack.DISCARD)
        lifecycle.succeeded(followed, ["https://kie/1.png"], 650, None)
        lifecycle.discard(claim(generation, State.STORING))
        assert books(generation) == ("cancelled", 1300, 0, ["hold", "release"])
        assert audit.violations() == []

    def test_it_is_thrown_away_also_at_the_last_moment(self, scene: Scene) -> None:
        generation = place(scene)
        claimed = storing(generation)
        assert lifecycle.take_back(generation, TakenBack.DISCARD)
        with pytest.raises(lifecycle.LeaseLost):
            lifecycle.done(claimed, {0: STORED})
        assert books(generation) == ("storing", 1300, 0, ["hold", "release"])
        assert not Take.objects.exists()

    @pytest.mark.parametrize("then", TakenBack)
    def test_it_is_not_sent_again(self, scene: Scene, then: TakenBack) -> None:
        """KIE refuses it for now, and meanwhile nobody pays for it any more."""
        generation = place(scene)
        claimed = sent(generation)
        assert lifecycle.take_back(generation, then)
        lifecycle.send_back(claimed, 10, "429")
        assert books(generation) == ("cancelled", 1300, 0, ["hold", "release"])
        assert audit.violations() == []

    def test_not_what_waits_in_line_or_has_ended(self, scene: Scene) -> None:
        generation = place(scene)
        assert not lifecycle.take_back(generation, TakenBack.KEEP)
        lifecycle.done(storing(generation), {0: STORED})
        assert not lifecycle.take_back(generation, TakenBack.KEEP)
        assert books(generation) == ("done", 650, 0, ["hold", "capture"])


@pytest.mark.django_db
class TestDeaths:
    """Workers, or their decoders, that die over a picture."""

    def test_three_put_it_aside(self, scene: Scene) -> None:
        generation = place(scene)
        storing(generation)
        for deaths in range(1, MOST_DEATHS + 1):
            expire_lease(generation)
            generation.refresh_from_db()
            assert (generation.state, generation.deaths) == ("storing", deaths)
            assert generation.is_set_aside == (deaths == MOST_DEATHS)
            if not generation.is_set_aside:
                assert generation.next_at < timezone.now() + timedelta(seconds=10)
                claim(generation, State.STORING)
        assert list(Generation.objects.set_aside()) == [generation]
        assert generation.next_at > timezone.now() + timedelta(minutes=9)
        assert books(generation)[:3] == ("storing", 1300, 650)

    def test_a_death_of_the_decoder_counts(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.put_off(storing(generation), "decoder: -9", died=True)
        assert Generation.objects.get().deaths == 1
        lifecycle.put_off(claim(generation, State.STORING), "HTTP 503")
        assert Generation.objects.get().deaths == 1

    def test_staff_have_it_fetched_now(self, scene: Scene) -> None:
        generation = place(scene)
        assert not lifecycle.try_again(generation)
        storing(generation)
        Generation.objects.update(deaths=MOST_DEATHS - 1)
        expire_lease(generation)
        assert lifecycle.claim_next_to_store() is None
        assert lifecycle.try_again(generation)
        assert lifecycle.claim_next_to_store() == generation
        assert Generation.objects.get().deaths == 0

    def test_others_go_on(self, scene: Scene) -> None:
        first, second = place(scene, "1"), place(scene, "2")
        storing(first)
        lifecycle.succeeded(running(second, "task-2"), ["https://kie/2.png"], None, None)
        assert lifecycle.claim_next_to_store() == second


@pytest.mark.django_db
class TestStaff:
    def test_kie_is_asked_once_more(self, scene: Scene) -> None:
        generation = place(scene)
        lifecycle.give_up(storing(generation), Reason.EXPIRED, "403")
        assert lifecycle.try_again(generation)
        assert books(generation) == ("running", 1300, 0, ["hold", "release"])
        lifecycle.succeeded(claim(generation, State.RUNNING), ["https://kie/new.png"], None, None)
        assert Output.objects.get().url == "https://kie/new.png"
        lifecycle.done(claim(generation, State.STORING), {0: STORED})
        assert books(generation) == ("done", 1300, 0, ["hold", "release"])
        assert audit.violations() == []

    def test_one_without_a_task_cannot_be_asked_after(self, scene: Scene) -> None:
        generation = place(scene)
        claimed = sent(generation)
        lifecycle.unclear(claimed, "HTTP 502")
        lifecycle.give_up(claim(generation, State.UNKNOWN), Reason.LOST, "no sign")
        assert not lifecycle.try_again(generation)
        assert lifecycle.close(generation)
        assert books(generation) == ("failed", 1300, 0, ["hold", "release"])
        assert lifecycle.adopt(generation, "task-9"), "it may still turn up"
        assert audit.violations() == []

    def test_only_what_stands_on_their_list_is_closed(self, scene: Scene) -> None:
        generation = place(scene)
        assert not lifecycle.close(generation)
        assert books(generation)[:3] == ("queued", 1300, 650)


@pytest.mark.django_db
def test_a_hint_that_comes_while_kie_is_asked_is_not_lost(scene: Scene) -> None:
    generation = place(scene)
    asked = running(generation)
    lifecycle.hurry(generation, "task-1")
    lifecycle.no_news([asked])
    assert lifecycle.tasks_due(1) == [generation.pk]
    (again,) = lifecycle.claim([generation.pk], State.RUNNING)
    lifecycle.no_news([again])
    assert lifecycle.tasks_due(1) == [], "a hint that was wrong is forgotten"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "expected"),
    [("", [2.5, 2.5, 30, 300]), ("https://studio.example", [2.5, 15, 180, 300])],
)
def test_polling_gets_slower_and_is_rare_where_kie_calls_back(
    scene: Scene, settings: Any, address: str, expected: list[float]
) -> None:
    settings.PUBLIC_URL = address
    generation = place(scene)
    running(generation)
    waits = []
    for age in (timedelta(0), timedelta(minutes=2), timedelta(minutes=20), timedelta(hours=3)):
        Generation.objects.update(submitted_at=timezone.now() - age)
        expire_lease(generation)
        lifecycle.still_running(claim(generation, State.RUNNING), "waiting")
        waits.append((Generation.objects.get().next_at - timezone.now()).total_seconds())
    assert waits == pytest.approx(expected, abs=0.5)
    assert Event.objects.filter(message="KIE: waiting").count() == 1, "only news is noted"


@pytest.mark.django_db
def test_a_pause_is_noted_once(scene: Scene) -> None:
    lifecycle.pause("kie", "402: Credits insufficient")
    lifecycle.pause("kie", "402: again")
    assert Pause.objects.get().why == "402: Credits insufficient"
    assert lifecycle.is_paused("kie")


@pytest.mark.django_db(transaction=True)
def test_eight_workers_and_one_row(scene: Scene) -> None:
    generation = place(scene)
    barrier = threading.Barrier(8)
    claims: list[list[Generation]] = []

    def run() -> None:
        barrier.wait()
        claims.append(lifecycle.claim([generation.pk], State.QUEUED))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(claimed) for claimed in claims) == 1


@pytest.mark.django_db(transaction=True)
def test_eight_clicks_with_one_key(scene: Scene, alice: User) -> None:
    barrier = threading.Barrier(8)
    placed: list[str] = []

    def run() -> None:
        barrier.wait()
        placed.append(place(Scene.objects.get(pk=scene.pk), "one").pk)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(placed) == 8
    assert len(set(placed)) == 1
    assert ledger.ledger_of(alice).held == 650


def expire_lease(generation: Generation) -> None:
    """As if the worker had died longer ago than a lease lasts."""
    Generation.objects.filter(pk=generation.pk).update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )
    lifecycle.sweep()
