"""The steps of an order against the sandbox over HTTP: what KIE may do, and what becomes of it.

The jobs are called as RQ calls them; only the waiting between two steps is cut short.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import django_rq
import pytest
import requests
from django.core.files.storage import default_storage
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from redis import Redis

from credits import invariants, ledger
from credits.models import LedgerEntry
from generation import callbacks, clock, doorbell, jobs, lifecycle, orders
from generation.kie import limiter
from generation.kie.sandbox import Options, Sandbox
from generation.kie.sandbox.schema import LARGEST_EDGE
from generation.models import (
    Callback,
    Generation,
    ImageSettings,
    Pause,
    State,
    TakenBack,
)
from projects.models import Project, Scene

pytestmark = pytest.mark.django_db

DESCRIPTION = "Miro stojí na hrebeni duny, za ním nízke slnko; dlhé tiene, piesok vo vzduchu."


@pytest.fixture
def kie(settings: Any, valkey: str, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """It draws small pictures, which are quick to make and to check; a test may ask for others."""
    edge = getattr(request, "param", 256)
    with Sandbox(Options(port=0, seconds=0.2, rate=0, largest_edge=edge)) as sandbox:
        settings.KIE_API_URL = settings.KIE_UPLOAD_URL = sandbox.url
        yield sandbox


@pytest.fixture
def scene(project: Project, catalogue: None) -> Scene:
    ledger.grant(ledger.ledger_of(project.owner), 1200, reference="g", about=ledger.About())
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k", scene_resolution="2k")
    return Scene.objects.create(project=project, number="1", position=1, description=DESCRIPTION)


def place(scene: Scene, key: str = "k") -> Generation:
    user = scene.project.owner
    order = orders.prepare(orders.Wish(project=scene.project, subject=scene))
    return orders.place(order, orders.Terms(user=user, key=key))


def take_steps(generation: Generation, until: tuple[State, ...], seconds: float = 10) -> None:
    """Calls the job of the order's state, as the tick would, until it is in one of these."""
    deadline = time.monotonic() + seconds
    while True:
        generation.refresh_from_db()
        if generation.state in until:
            return
        assert time.monotonic() < deadline, f"still {generation.state}: {trail(generation)}"
        Generation.objects.filter(pk=generation.pk).update(next_at=timezone.now())
        if generation.state == State.QUEUED:
            jobs.submit()
        elif generation.state == State.RUNNING:
            jobs.poll()
            time.sleep(0.03)
        elif generation.state == State.STORING:
            jobs.store()


ENDS = (State.DONE, State.FAILED, State.REVIEW, State.UNKNOWN)


def go_on_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of the sandbox gets on by being asked about, not by the clock: so every state of it is
    met, however busy the machine is. A tenth of its 0.2 seconds goes by with every question."""
    ticks = count(time.time() - 10, 0.02)  # by the real clock, by which files go, it is over
    clock = SimpleNamespace(time=lambda: next(ticks))
    monkeypatch.setattr("generation.kie.sandbox.api.time", clock)


def trail(generation: Generation) -> list[str]:
    return [f"{e.state}: {e.message}" for e in generation.events.all()]


def ask(kie: Sandbox, path: str) -> Any:
    return requests.get(f"{kie.url}/sandbox/{path}", timeout=5).json()


def next_faults(kie: Sandbox, *faults: str) -> None:
    answer = requests.post(f"{kie.url}/sandbox/faults", json={"next": list(faults)}, timeout=5)
    assert answer.status_code == 200, answer.text


def books(generation: Generation) -> tuple[str, int, int]:
    assert invariants.violations() == []
    generation.refresh_from_db()
    book = ledger.ledger_of(generation.payer)  # type: ignore[arg-type]
    return generation.state, book.balance, book.held


@pytest.mark.parametrize("kie", [LARGEST_EDGE], indirect=True, ids=["as large as ordered"])
def test_the_users_document(
    kie: Sandbox, scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    go_on_when_asked(monkeypatch)
    generation = place(scene)
    take_steps(generation, ENDS)
    assert books(generation) == ("done", 600, 0)
    (received,) = ask(kie, "requests")
    assert received["body"] == {
        "model": "seedream-3.0/2k",
        "input": {"prompt": DESCRIPTION, "aspect_ratio": "16:9"},
    }
    charge = LedgerEntry.objects.get(kind="capture")
    assert charge.description == "KIE AI Seedream 3.0 (2K) generation (2K)"
    assert (charge.type, charge.project, charge.provider) == ("image", scene.project_id, "kie")
    assert charge.metadata == {"model": "seedream-3.0/2k", "kieCredits": 6}
    assert (charge.balance_change, charge.real_cost) == (-600, 30_000)
    take = scene.takes.get()
    assert (take.width, take.height) == (2048, 1152)
    assert default_storage.size(take.image.name) == take.size
    assert default_storage.exists(take.thumbnail.name)
    assert generation.kie_credits_used == 600
    task = generation.task_id
    told = [m for m in caplog.messages if m.startswith(("[Image]", "[KIE]"))]
    assert told == [
        "[Image] Using provider: kie, model: seedream-3.0/2k, reference images: 0, "
        "skipCreditCheck: false, ownerId: none",
        "[KIE] Using model: Seedream 3.0 (2K) - 6 credits ($0.03)",
        f"[KIE] Task created: {task}, polling for completion...",
        f"[KIE] Task {task} state: waiting",
        f"[KIE] Task {task} state: generating",
        f"[KIE] Task {task} state: success",
    ]


@pytest.mark.parametrize(
    ("fault", "state", "reason", "tasks"),
    [
        ("moderation", "failed", "unsafe", 1),
        ("inappropriate", "failed", "unsafe", 1),
        ("internal_error", "failed", "render", 1),
        ("try_again", "failed", "render", 1),
        ("image_fetch", "failed", "input", 1),
        ("record_501", "failed", "render", 1),
        ("record_408", "failed", "render", 1),
        ("empty", "failed", "empty", 1),
        ("result_html", "failed", "picture", 1),
        ("result_junk", "failed", "picture", 1),
        ("result_endless", "failed", "picture", 1),
        ("result_redirect", "failed", "picture", 1),
        ("result_404", "review", "expired", 1),
        ("result_403", "review", "expired", 1),
        ("create_lost", "unknown", "", 1),
        ("create_502_made", "unknown", "", 1),
        ("create_502", "unknown", "", 0),
        ("create_500", "unknown", "", 0),
    ],
)
def test_what_brings_no_picture_is_not_charged(
    kie: Sandbox, scene: Scene, fault: str, state: str, reason: str, tasks: int
) -> None:
    next_faults(kie, fault)
    generation = place(scene)
    take_steps(generation, ENDS, seconds=20)
    held = 600 if state == "unknown" else 0
    assert books(generation) == (state, 1200, held), trail(generation)
    assert generation.reason == reason
    assert len(ask(kie, "tasks")) == tasks
    assert len(ask(kie, "requests")) == 1, "createTask went out once"
    assert not scene.takes.exists()


@pytest.mark.parametrize(
    "fault",
    ["result_503_once", "result_expired", "result_mislabelled", "hidden", "callback_lost"],
)
def test_trouble_on_the_way_ends_well(kie: Sandbox, scene: Scene, fault: str) -> None:
    requests.post(f"{kie.url}/sandbox/settings", json={"hidden_seconds": 0.5}, timeout=5)
    next_faults(kie, fault)
    generation = place(scene)
    take_steps(generation, ENDS)
    assert books(generation) == ("done", 600, 0), trail(generation)
    assert len(ask(kie, "requests")) == 1


@pytest.mark.parametrize("fault", ["create_429", "create_455"])
def test_a_clear_no_for_now_is_sent_again(kie: Sandbox, scene: Scene, fault: str) -> None:
    next_faults(kie, fault)
    generation = place(scene)
    jobs.submit()
    assert books(generation) == ("queued", 1200, 600)
    assert generation.next_at > timezone.now()
    is_shut = jobs.creates().take("other") == 0
    assert is_shut == (fault == "create_429"), "too many for one are too many for all"
    doorbell.redis().delete("kie:creates:shut")  # ten seconds later
    take_steps(generation, ENDS)
    assert books(generation) == ("done", 600, 0)
    assert (len(ask(kie, "requests")), len(ask(kie, "tasks"))) == (2, 1)


@pytest.mark.parametrize("fault", ["create_401", "create_402", "create_402_as_500", "create_433"])
def test_a_blocked_account_pauses_all_ordering(kie: Sandbox, scene: Scene, fault: str) -> None:
    next_faults(kie, fault)
    first, second = place(scene, "1"), place(scene, "2")
    jobs.submit()
    jobs.submit()
    assert Pause.objects.get().provider == "kie"
    assert books(first) == books(second) == ("queued", 1200, 1200)
    assert len(ask(kie, "requests")) == 1, "while ordering is paused nothing is sent"
    Pause.objects.all().delete()
    take_steps(first, ENDS)
    take_steps(second, ENDS)
    assert books(second) == ("done", 0, 0)


def test_nobody_at_kies_address(scene: Scene, settings: Any, valkey: str) -> None:
    settings.KIE_API_URL = "http://127.0.0.1:1"
    generation = place(scene)
    jobs.submit()
    assert books(generation) == ("queued", 1200, 600)


def test_a_disk_that_is_full_is_waited_out(kie: Sandbox, scene: Scene, settings: Any) -> None:
    good = settings.MEDIA_ROOT
    generation = place(scene)
    take_steps(generation, (State.STORING,))
    settings.MEDIA_ROOT = "/proc/no-room-here"
    jobs.store()
    assert books(generation) == ("storing", 1200, 600)
    settings.MEDIA_ROOT = good
    take_steps(generation, ENDS)
    assert books(generation) == ("done", 600, 0)
    assert Path(scene.takes.get().image.path).exists()


def test_a_picture_that_is_stored_is_not_fetched_again(kie: Sandbox, scene: Scene) -> None:
    ImageSettings.objects.update(model="grok-imagine/text-to-image", scene_resolution="")
    generation = place(Scene.objects.get())
    take_steps(generation, (State.STORING,))
    last = generation.outputs.last()
    assert last is not None
    link = last.url
    generation.outputs.filter(pk=last.pk).update(url="https://nobody.invalid/5.png")
    jobs.store()
    assert books(generation) == ("storing", 1200, 400), "one of six is missing"
    assert generation.outputs.filter(stored__isnull=False).count() == 5
    generation.outputs.update(url="gone")
    generation.outputs.filter(pk=last.pk).update(url=link)
    take_steps(generation, ENDS)
    assert books(generation) == ("done", 800, 0)
    assert scene.takes.count() == 6


def test_what_was_disowned_is_not_fetched(kie: Sandbox, scene: Scene) -> None:
    generation = place(scene)
    take_steps(generation, (State.STORING,))
    assert lifecycle.take_back(generation, TakenBack.DISCARD)
    jobs.store()
    assert books(generation) == ("cancelled", 1200, 0)
    assert not scene.takes.exists()


def test_jobs_without_anything_to_do(kie: Sandbox, scene: Scene) -> None:
    generation = place(scene)
    take_steps(generation, ENDS)
    for job in (jobs.submit, jobs.poll, jobs.store, jobs.hear, clock.tick):
        job()
    assert books(generation) == ("done", 600, 0)
    assert len(ask(kie, "requests")) == 1


def test_a_model_with_six_pictures_an_order(kie: Sandbox, scene: Scene) -> None:
    ImageSettings.objects.update(model="grok-imagine/text-to-image", scene_resolution="")
    generation = place(Scene.objects.get())
    take_steps(generation, ENDS)
    assert books(generation) == ("done", 800, 0)
    assert scene.takes.count() == 6


class TestCallbacks:
    @pytest.fixture(autouse=True)
    def public(self, settings: Any) -> None:
        settings.PUBLIC_URL = "http://127.0.0.1:9"  # nobody listens: the tests bring the callbacks

    def call(self, generation: Generation, task_id: Any, tag: str = "") -> int:
        address = f"/kie/callback/{generation.pk}/{tag or callbacks.tag_for(generation.pk)}"
        body = {"code": 200, "data": {"taskId": task_id, "state": "success"}}
        return Client().post(address, body, content_type="application/json").status_code

    def test_the_address_goes_along(self, kie: Sandbox, scene: Scene) -> None:
        generation = place(scene)
        jobs.submit()
        (received,) = ask(kie, "requests")
        assert received["body"] == {
            **generation.request,
            "callBackUrl": callbacks.url_for(generation),
        }

    def test_an_order_whose_answer_was_lost_comes_back(self, kie: Sandbox, scene: Scene) -> None:
        next_faults(kie, "create_lost")
        generation = place(scene)
        take_steps(generation, (State.UNKNOWN,))
        (task,) = ask(kie, "tasks")
        assert self.call(generation, task["taskId"]) == 200
        jobs.hear()
        take_steps(generation, (State.DONE,))
        assert books(generation) == ("done", 600, 0)
        assert len(ask(kie, "requests")) == 1

    def test_another_orders_task_is_not_adopted(self, kie: Sandbox, scene: Scene) -> None:
        next_faults(kie, "create_lost", None)  # type: ignore[arg-type]
        lost, other = place(scene, "1"), place(scene, "2")
        take_steps(lost, (State.UNKNOWN,))
        take_steps(other, (State.DONE,))
        assert self.call(lost, other.task_id) == 200
        jobs.hear()
        assert books(lost)[0] == "unknown"
        assert not Callback.objects.filter(heard_at__isnull=True).exists()

    def test_a_forged_task_changes_nothing(self, kie: Sandbox, scene: Scene) -> None:
        next_faults(kie, "create_502")
        generation = place(scene)
        take_steps(generation, (State.UNKNOWN,))
        assert self.call(generation, "f" * 32) == 200
        jobs.hear()
        assert books(generation) == ("unknown", 1200, 600)

    def test_who_does_not_know_the_tag(self, kie: Sandbox, scene: Scene) -> None:
        generation = place(scene)
        assert self.call(generation, "f" * 32, tag="0" * 32) == 404
        assert self.call(generation, "f" * 32, tag=callbacks.tag_for("another")) == 404
        assert not Callback.objects.exists()

    @pytest.mark.parametrize("task_id", [None, 5, "", "x" * 201, "a\x00b", ["x"], {"a": 1}])
    def test_a_callback_without_a_task(self, kie: Sandbox, scene: Scene, task_id: Any) -> None:
        assert self.call(place(scene), task_id) == 400
        assert not Callback.objects.exists()

    @pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"data": 5}'])
    def test_a_callback_that_is_no_json(self, kie: Sandbox, scene: Scene, raw: bytes) -> None:
        generation = place(scene)
        address = f"/kie/callback/{generation.pk}/{callbacks.tag_for(generation.pk)}"
        assert Client().post(address, raw, content_type="application/json").status_code == 400
        assert Client().get(address).status_code == 405

    def test_the_signature(self, kie: Sandbox, scene: Scene, settings: Any) -> None:
        settings.KIE_WEBHOOK_KEY = "secret"
        generation = place(scene)
        assert self.call(generation, "task") == 401
        assert not Callback.objects.exists()
        # As KIE's page has it: base64(HMAC-SHA256(key, taskId + "." + timestamp))
        signed = {
            "X-Webhook-Timestamp": "1700000000",
            "X-Webhook-Signature": "Rjs/ZtSuJxso8+nuj+jz5l+VjfFG4JImOS0M7UDACr0=",
        }
        assert callbacks.is_signed("task", signed)
        assert not callbacks.is_signed("other", signed)
        assert not callbacks.is_signed("task", {**signed, "X-Webhook-Timestamp": "1700000001"})

    def test_repeated_callbacks_do_nothing_more(self, kie: Sandbox, scene: Scene) -> None:
        generation = place(scene)
        jobs.submit()
        generation.refresh_from_db()
        for _ in range(3):
            assert self.call(generation, generation.task_id) == 200
            jobs.hear()
        take_steps(generation, ENDS)
        assert self.call(generation, generation.task_id) == 200
        jobs.hear()
        assert books(generation) == ("done", 600, 0)
        assert Callback.objects.count() == 1


def test_the_window_of_creates(valkey: str) -> None:
    window = jobs.creates()
    with pytest.raises(limiter.WindowLost):
        window.take("early")
    window.retell({"before": 8, "long ago": 11})
    assert [window.take(str(n)) for n in range(25)] == [1] * 17 + [0] * 8
    time.sleep(2.1)
    assert window.take("again") == 1, "the call of 10 s ago counts no more"
    assert window.take("more", 5) == 0


def test_a_call_counts_from_its_answer(valkey: str) -> None:
    window = jobs.creates()
    window.retell({"slow": 9.9, "lost": 9.9})
    window.answered("slow")
    window.answered("never heard of")
    time.sleep(0.2)
    assert window.take("others", 18) == 17


def test_a_window_that_kie_has_shut(valkey: str) -> None:
    window = jobs.creates()
    window.retell({})
    window.shut()
    assert window.take("x") == 0


def test_many_calls_at_once_are_cut_to_what_is_free(valkey: str) -> None:
    window = jobs.creates()
    window.retell({})
    assert [window.take("a", 16), window.take("b", 16)] == [16, 2]


def test_an_order_beyond_the_window_waits_in_line(kie: Sandbox, scene: Scene) -> None:
    window = jobs.creates()
    window.retell({})
    assert window.take("others", 18) == 18
    generation = place(scene)
    jobs.submit()
    generation.refresh_from_db()
    assert (generation.state, generation.lease_token) == ("queued", "")
    assert ask(kie, "requests") == []


def test_what_kie_does_not_take_for_long_is_not_always_in_front(kie: Sandbox, scene: Scene) -> None:
    """Each waits longer before it takes a place of the window again, and a minute at most."""
    generation = place(scene)
    waits = []
    for attempts in (0, 1, 2, 3, 30):
        next_faults(kie, "create_455")
        Generation.objects.update(next_at=timezone.now(), attempts=attempts)
        before = timezone.now()
        jobs.submit()
        generation.refresh_from_db()
        waits.append(round((generation.next_at - before).total_seconds(), -1))
    assert waits == [10, 20, 40, 60, 60]


def test_a_database_that_restarts_does_not_lose_the_task(
    kie: Sandbox, scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    adopt, waited = lifecycle.adopt, []

    def adopted(generation: Generation, task_id: str) -> bool:
        if len(waited) < 2:
            assert task_id in caplog.text, "said before anything is written"
            raise OperationalError("the database system is starting up")
        return adopt(generation, task_id)

    monkeypatch.setattr(lifecycle, "adopt", adopted)
    monkeypatch.setattr(jobs, "sleep", waited.append)
    monkeypatch.setattr(jobs, "connection", SimpleNamespace(close=lambda: None))
    generation = place(scene)
    jobs.submit()
    generation.refresh_from_db()
    assert (generation.state, len(waited)) == ("running", 2)


def test_another_orders_task_is_not_adopted(
    kie: Sandbox, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def taken(_generation: Generation, task_id: str) -> bool:
        asked.append(task_id)
        raise lifecycle.TaskTaken(task_id)

    monkeypatch.setattr(lifecycle, "adopt", taken)
    generation = place(scene)
    jobs.submit()
    generation.refresh_from_db()
    assert (generation.state, generation.task_id) == ("unknown", None)
    assert len(asked) == 1


def test_a_window_that_redis_has_lost_is_told_again(kie: Sandbox, scene: Scene) -> None:
    first, second = place(scene, "1"), place(scene, "2")
    jobs.submit()
    doorbell.redis().flushall()
    jobs.submit()
    assert len(ask(kie, "requests")) == 2
    first.refresh_from_db()
    second.refresh_from_db()
    assert {first.state, second.state} == {"running"}
    assert jobs.creates().take("rest", 18) == 16, "the one before the loss counts"


class TestTheTick:
    def tick(self, commit: Any) -> None:
        with commit(execute=True):
            clock.tick()

    def test_it_rings_for_what_is_due(
        self, kie: Sandbox, scene: Scene, django_capture_on_commit_callbacks: Any
    ) -> None:
        commit = django_capture_on_commit_callbacks
        jobs.balance()  # is due at first
        place(scene)
        self.tick(commit)
        (job,) = doorbell_queue("orders")
        assert (job.func_name, job.args) == ("generation.jobs.submit", [])
        self.tick(commit)
        assert len(doorbell_queue("orders")) == 1, "one is enough while nobody has heard it"
        doorbell_queue("orders")[0].delete()  # a worker took it, and died
        self.tick(commit)
        assert len(doorbell_queue("orders")) == 1
        jobs.submit()
        Generation.objects.update(next_at=timezone.now())
        self.tick(commit)
        assert doorbell_queue("orders")[-1].func_name == "generation.jobs.poll"


def test_without_the_queue_the_order_stands(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(doorbell, "redis", lambda: Redis(port=1))
    with django_capture_on_commit_callbacks(execute=True):
        generation = place(scene)
    assert books(generation) == ("queued", 1200, 600)
    assert "No bell for submit" in caplog.text


def doorbell_queue(name: str) -> list[Any]:
    return list(django_rq.get_queue(name).get_jobs())
