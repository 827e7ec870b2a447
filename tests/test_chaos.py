"""The judge of the chaos run: every rule can be broken, and the storage fails as it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.proofs import bucket, verdict
from tests.proofs.bucket import Faulty, Quiet
from tests.proofs.customers import Customer, Wish
from tests.proofs.verdict import CASE_RULES, Case, Task

ALICE = Customer("alice", "token", 1)
TASK = Task("t1", "http://site/kie/callback/g1/tag", frozenset({"callback_twice"}), "success", 2)
ROW = {"id": "g1", "state": "done", "reason": "", "task_id": "t1", "died_sending": False}
LOST = ROW | {"state": "review", "reason": "lost"}


def wish(**told: Any) -> Wish:
    return Wish("k-1", ALICE, "z-image", sent=1, **{"placed": True, "order_ids": {"g1"}, **told})


GOOD = Case(
    wish(),
    ROW,
    price=80,
    tasks=[TASK],
    refusals=[],
    moved={"hold": 0, "capture": -80},
    pictures=({"image": "takes/g1-0.png"},),
)


def failed(**fields: Any) -> Case:
    task = replace(TASK, faults=frozenset({"internal_error"}), outcome="fail: Internal error")
    row = ROW | {"state": "failed", "reason": "render"}
    case = replace(GOOD, order=row, tasks=[task], moved={"hold": 0, "release": 0}, pictures=())
    return replace(case, **fields)


def broken_rules(case: Case) -> set[str]:
    return {rule.__name__ for rule in CASE_RULES if not rule(case)}


@pytest.mark.parametrize(
    "case",
    [
        GOOD,
        failed(),
        replace(GOOD, moved={"hold": 0, "release": 0}),  # late, so it is free
        replace(failed(), tasks=[], refusals=[502], order=LOST),
        replace(failed(), tasks=[], refusals=[422], order=LOST | {"died_sending": True}),
        Case(wish(placed=False, order_ids=set()), None, 80, [], []),
    ],
)
def test_what_is_as_it_must_be(case: Case) -> None:
    if case.order and not case.tasks:
        case = replace(case, order=case.order | {"task_id": None})
    assert broken_rules(case) == set()


BROKEN: dict[str, list[Case]] = {
    "every_answer_was_one_that_fits": [replace(GOOD, wish=wish(oddities=["HTTP 404"]))],
    "what_was_placed_stands_once": [
        replace(GOOD, order=None),
        replace(GOOD, wish=wish(order_ids={"g1", "g2"})),
    ],
    "what_was_refused_is_nowhere": [replace(GOOD, wish=wish(placed=False))],
    "no_task_was_ordered_twice": [replace(GOOD, tasks=[TASK, replace(TASK, id="t2")])],
    "kie_reports_to_the_order_itself": [
        replace(GOOD, tasks=[replace(TASK, to="http://site/kie/callback/g2/tag")])
    ],
    "it_has_ended": [replace(GOOD, order=ROW | {"state": "storing"})],
    "its_end_has_its_cause": [
        failed(tasks=[TASK]),
        replace(GOOD, tasks=[replace(TASK, faults=frozenset({"result_junk"}))]),
        failed(order=ROW | {"state": "failed", "reason": "unsafe"}),
        replace(failed(), tasks=[TASK], order=LOST),
        replace(failed(), tasks=[], refusals=[422], order=LOST),
    ],
    "a_picture_that_was_told_of_is_there": [failed(tasks=[TASK]), failed(tasks=[TASK], order=LOST)],
    "the_picture_comes_from_its_own_task": [replace(GOOD, order=ROW | {"task_id": "t9"})],
    "only_a_picture_is_charged_and_at_its_price": [
        replace(GOOD, moved={"hold": 0, "capture": -79}),
        replace(GOOD, moved={"hold": 0}),
        failed(moved={"hold": 0, "capture": -80}),
    ],
    "every_hold_is_resolved_once": [
        failed(moved={"hold": 0}),
        replace(GOOD, moved={"hold": 0, "capture": -80, "release": 0}),
        failed(moved={}),
    ],
    "done_has_pictures_and_nothing_else_has": [
        replace(GOOD, pictures=()),
        failed(pictures=GOOD.pictures),
    ],
}


def test_every_rule_is_tried() -> None:
    assert BROKEN.keys() == {rule.__name__ for rule in CASE_RULES}


@pytest.mark.parametrize(("rule", "case"), [(r, c) for r, cases in BROKEN.items() for c in cases])
def test_what_is_not_as_it_must_be(rule: str, case: Case) -> None:
    assert rule in broken_rules(case)


def test_tasks_are_found_by_the_key_in_the_prompt() -> None:
    def create(task_id: str | None, code: int, key: str) -> dict[str, Any]:
        body = {"input": {"prompt": f"A dune [{key}]"}, "callBackUrl": f"http://site/{key}"}
        row = {"what": "create", "taskId": task_id, "code": code}
        return row | {"body": body, "faults": ["hidden"] if task_id else []}

    journal = [
        create(None, 429, "k-1"),
        create("t1", 200, "k-1"),
        create("t2", 200, "k-2"),
        {"what": "end", "taskId": "t1", "outcome": "success"},
        {"what": "callback", "taskId": "t1", "status": 500},
        {"what": "callback", "taskId": "t1", "status": 200},
    ]
    tasks, refusals = verdict.tasks_by_key(journal)
    hidden = frozenset({"hidden"})
    assert tasks == {
        "k-1": [Task("t1", "http://site/k-1", hidden, "success", 1)],
        "k-2": [Task("t2", "http://site/k-2", hidden, "", 0)],
    }
    assert refusals == {"k-1": [429]}


# The storage


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Faulty, Any]]:
    """An S3 server that fails every call once it is told how, and a client of it."""
    monkeypatch.setattr(bucket, "HANGING_SECONDS", 0.3)
    app = Faulty(DomainDispatcherApplication(create_backend_app), 0, 1)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = bucket.client(f"http://127.0.0.1:{server.server_port}")
    client.create_bucket(Bucket="films")
    app.probability = 1
    yield app, client
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("fault", "answered", "kept"),
    [
        ("error", False, False),
        ("cut before", False, False),
        ("cut after", False, True),
        ("hanging", True, True),
    ],
)
def test_every_attempt_of_a_call_meets_the_same_fault(
    monkeypatch: pytest.MonkeyPatch,
    faulty: tuple[Faulty, Any],
    fault: str,
    answered: bool,
    kept: bool,
) -> None:
    app, client = faulty
    monkeypatch.setattr(bucket, "FAULTS", {fault: 1})
    try:
        client.put_object(Bucket="films", Key="a.png", Body=b"picture")
    except (BotoCoreError, ClientError):
        assert not answered
    else:
        assert answered
    assert app.happened == {"none": 1, fault: 1}  # the bucket itself was made without one
    app.probability = 0
    keys = [found["Key"] for found in client.list_objects_v2(Bucket="films").get("Contents", [])]
    assert keys == (["a.png"] if kept else [])
