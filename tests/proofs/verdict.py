"""What must be true after the chaos, asked of every order from all sides at once.

What happened outside is read from the sandbox's own journal, what the site believes from its
database in plain SQL, what is kept from the S3 server, and what was promised from the customers.
None of it goes through the code that is judged.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import requests
from PIL import Image
from psycopg.rows import dict_row

from tests.proofs.customers import KEY, Wish
from tests.proofs.stand import Stand

# Tasks of which KIE says that they succeeded, and that bring no picture all the same.
SPOILT = {"result_html": "picture", "result_junk": "picture", "result_redirect": "picture"}
GONE = {"result_404": "expired", "result_403": "expired"}
AT_ONCE = 8  # requests to the storage
MOST_REDRAWN = 300  # pictures compared with what the sandbox gives out; drawing costs time
MOST_SEEN = 30  # orders that are looked at as their customers do, through the site

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A task as KIE knows it. `told`: how often we answered 200 to a callback about it."""

    id: str
    to: str  # the address to call back
    faults: frozenset[str]
    outcome: str  # "success", "fail: …", "" if it has not ended
    told: int

    @property
    def brings_a_picture(self) -> bool:
        bad = {"empty", *SPOILT, *GONE}
        return self.outcome == "success" and not self.faults & bad


@dataclass(frozen=True)
class Case:
    """An order from all sides. `order` and what hangs on it are rows; None: there is no row."""

    wish: Wish
    order: Row | None
    price: int  # that was shown, hundredths of a credit
    tasks: list[Task]  # that KIE took for it
    refusals: list[int]  # codes of createTask's answers when it took none
    moved: Mapping[str, int] = field(default_factory=dict)  # entry's kind: balance's change
    pictures: tuple[Row, ...] = ()

    def __str__(self) -> str:
        told = f"placed={self.wish.placed} sent {self.wish.sent} times"
        row = self.order and {n: self.order[n] for n in ("id", "state", "reason", "task_id")}
        tasks = [(t.id, sorted(t.faults), t.outcome, f"told {t.told}") for t in self.tasks]
        return f"{self.wish.key} ({told}) order {row} tasks {tasks} money {dict(self.moved)}"

    @property
    def state(self) -> str:
        return self.order["state"] if self.order else ""


# Every question is true of a case that is as it must be.


def every_answer_was_one_that_fits(case: Case) -> bool:
    return not case.wish.oddities


def what_was_placed_stands_once(case: Case) -> bool:
    """Whoever was told that the order is placed finds it, and found the same one each time."""
    own = {case.order["id"]} if case.order else set()
    return not case.wish.placed or (case.order is not None and case.wish.order_ids <= own)


def what_was_refused_is_nowhere(case: Case) -> bool:
    return case.wish.placed is not False or (case.order is None and not case.tasks)


def no_task_was_ordered_twice(case: Case) -> bool:
    return len(case.tasks) <= 1


def kie_reports_to_the_order_itself(case: Case) -> bool:
    return all(f"/{case.order['id']}/" in task.to for task in case.tasks if case.order)


def it_has_ended(case: Case) -> bool:
    return case.order is None or case.state in ("done", "failed", "cancelled", "review")


def its_end_has_its_cause(case: Case) -> bool:
    """No ending that nothing at KIE explains."""
    if case.order is None:
        return True
    return (case.state, case.order["reason"]) in _endings(case)


def a_picture_that_was_told_of_is_there(case: Case) -> bool:
    """An accepted task for which one callback came through has its picture."""
    owed = any(task.brings_a_picture and task.told for task in case.tasks)
    return not owed or case.state == "done"


def the_picture_comes_from_its_own_task(case: Case) -> bool:
    ids = [task.id for task in case.tasks]
    return case.order is None or case.order["task_id"] in (*ids, None)


def only_a_picture_is_charged_and_at_its_price(case: Case) -> bool:
    """A late one whose hold was given back before is free."""
    charged = -case.moved.get("capture", 0)
    if case.state != "done":
        return charged == 0
    return charged == (0 if "release" in case.moved else case.price)


def every_hold_is_resolved_once(case: Case) -> bool:
    resolved = {"capture", "release"} & case.moved.keys()
    return len(resolved) == ("hold" in case.moved) and ("hold" in case.moved or not case.order)


def done_has_pictures_and_nothing_else_has(case: Case) -> bool:
    return bool(case.pictures) == (case.state == "done")


CASE_RULES: tuple[Callable[[Case], bool], ...] = (
    every_answer_was_one_that_fits,
    what_was_placed_stands_once,
    what_was_refused_is_nowhere,
    no_task_was_ordered_twice,
    kie_reports_to_the_order_itself,
    it_has_ended,
    its_end_has_its_cause,
    a_picture_that_was_told_of_is_there,
    the_picture_comes_from_its_own_task,
    only_a_picture_is_charged_and_at_its_price,
    every_hold_is_resolved_once,
    done_has_pictures_and_nothing_else_has,
)


def _endings(case: Case) -> set[tuple[str, str]]:
    """The (state, reason) pairs that what KIE did can lead to."""
    lost = ("review", "lost")
    if not case.tasks:
        if 422 not in case.refusals:
            return {lost}
        # Whoever asked may have died before it could write down KIE's no.
        died = case.order and case.order["died_sending"]
        return {("failed", "unsafe"), *([lost] if died else [])}
    found: set[tuple[str, str]] = set()
    for task in case.tasks:
        reasons = [name for fault, name in SPOILT.items() if fault in task.faults]
        if task.outcome != "success":
            found.add(("failed", "unsafe" if "moderation" in task.outcome else "render"))
        elif "empty" in task.faults:
            found.add(("failed", "empty"))
        elif reasons:
            found.add(("failed", reasons[0]))
        elif task.faults & GONE.keys():
            found.add(("review", "expired"))
        else:
            found.add(("done", ""))
        # Nobody may ever have said that KIE has it. And KIE's answer 501 has no record, so no
        # address by which a task whose id did not come could be known for the order's.
        if not task.told or "record_501" in task.faults:
            found.add(lost)
    return found


# Of all together


def violations(stand: Stand, wishes: list[Wish], prices: Mapping[str, int]) -> Iterator[str]:
    """One line for each thing that is not as it must be."""
    journal = read_journal(stand.journal)
    with stand.database() as database:
        cases = list(read_cases(database, journal, wishes, prices))
        yield from _strangers(database, journal, wishes)
        yield from _books(database)
    for case in cases:
        for rule in CASE_RULES:
            if not rule(case):
                yield f"{rule.__name__}: {case}"
    pictures = [(case, picture) for case in cases for picture in case.pictures]
    yield from _each(_storage, [(stand, *pair) for pair in pictures])
    yield from _each(_kie_drew_it, [(stand, *pair) for pair in pictures[:MOST_REDRAWN]])
    yield from _each(_customer_sees, [(stand, case) for case in cases[-MOST_SEEN:]])
    ledger = stand.manage("check_ledger")
    if ledger.returncode:
        yield f"check_ledger: {ledger.stderr.strip()}"


def _each(question: Callable[..., list[str]], asked: list[tuple[Any, ...]]) -> Iterator[str]:
    """What is wrong; a question that cannot even be answered is wrong as well."""

    def answer(arguments: tuple[Any, ...]) -> list[str]:
        try:
            return question(*arguments)
        except Exception as error:
            return [f"{question.__name__} has no answer: {error!r} {arguments[1]}"]

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for wrong in threads.map(answer, asked):
            yield from wrong


def read_cases(
    database: psycopg.Connection[Any],
    journal: list[Row],
    wishes: list[Wish],
    prices: Mapping[str, int],
) -> Iterator[Case]:
    orders = {row["order_key"].removeprefix("api:"): row for row in _rows(database, ORDERS)}
    moved: dict[str, dict[str, int]] = defaultdict(dict)
    for row in _rows(database, ENTRIES):
        moved[row["reference"].split(":")[1]][row["kind"]] = row["balance_change"]
    pictures: dict[str, list[Row]] = defaultdict(list)
    for row in _rows(database, PICTURES):
        pictures[row["generation_id"]].append(row)
    tasks, refusals = tasks_by_key(journal)
    for wish in wishes:
        order = orders.get(wish.key)
        own = order["id"] if order else ""
        yield Case(
            wish,
            order,
            prices[wish.model],
            tasks[wish.key],
            refusals[wish.key],
            moved.get(own, {}),
            tuple(pictures[own]),
        )


ORDERS = """
SELECT *, EXISTS (
    SELECT 1 FROM generation_event e
    WHERE e.generation_id = g.id AND e.message = 'The worker died while it was sending'
) AS died_sending
FROM generation_generation g
"""
ENTRIES = "SELECT * FROM credits_ledgerentry WHERE reference LIKE 'generation:%'"
PICTURES = """
SELECT o.generation_id, o.url, t.image, t.thumbnail, t.size, t.sha256, t.width, t.height
FROM generation_output o JOIN projects_take t ON t.id = o.take_id
"""


def tasks_by_key(journal: list[Row]) -> tuple[dict[str, list[Task]], dict[str, list[int]]]:
    """What KIE took, and how it refused, by the key that stands in the prompt."""
    outcomes = {row["taskId"]: row["outcome"] for row in journal if row["what"] == "end"}
    told: dict[str, int] = defaultdict(int)
    for row in journal:
        if row["what"] == "callback":
            told[row["taskId"]] += row["status"] == 200
    tasks: dict[str, list[Task]] = defaultdict(list)
    refusals: dict[str, list[int]] = defaultdict(list)
    for row in (row for row in journal if row["what"] == "create"):
        key, task_id = _key(row), row["taskId"]
        if task_id is None:
            refusals[key].append(row["code"])
            continue
        faults, to = frozenset(row["faults"]), row["body"].get("callBackUrl", "")
        tasks[key].append(Task(task_id, to, faults, outcomes.get(task_id, ""), told[task_id]))
    return tasks, refusals


def _key(create: Row) -> str:
    found = KEY.search(str((create["body"] or {}).get("input")))
    return found[1] if found else ""


def _strangers(
    database: psycopg.Connection[Any], journal: list[Row], wishes: list[Wish]
) -> Iterator[str]:
    """Orders and tasks that nobody wished for."""
    keys = {wish.key for wish in wishes}
    for row in _rows(database, ORDERS):
        if row["order_key"].removeprefix("api:") not in keys:
            yield f"an order that nobody placed: {row['id']} {row['order_key']}"
    for row in journal:
        if row["what"] == "create" and _key(row) not in keys:
            yield f"a createTask for no order: {row}"


def _books(database: psycopg.Connection[Any]) -> Iterator[str]:
    """No open hold, and every balance is what was given less what was charged."""
    for row in _rows(database, BALANCES):
        if row["held"]:
            yield f"an open hold: {row['held']} of ledger {row['id']}"
        if row["balance"] != row["moved"] or row["balance"] < 0:
            yield f"ledger {row['id']} has {row['balance']}, its entries say {row['moved']}"


BALANCES = """
SELECT l.id, l.balance, l.held, COALESCE(SUM(e.balance_change), 0) AS moved
FROM credits_creditledger l LEFT JOIN credits_ledgerentry e ON e.ledger_id = l.id GROUP BY l.id
"""


def _storage(stand: Stand, case: Case, picture: Row) -> list[str]:
    """The file is there, whole, and a picture; so is its thumbnail."""
    data, small = stand.stored(picture["image"]), stand.stored(picture["thumbnail"])
    if data is None or small is None:
        return [f"a missing object: {picture['image']} of {case}"]
    digest = hashlib.sha256(data).hexdigest()
    if (len(data), digest) != (picture["size"], picture["sha256"]):
        return [f"{picture['image']} is not what was stored: {len(data)} bytes, {case}"]
    with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(small)) as thumbnail:
        image.load()
        thumbnail.load()
        size = image.size
    right = size == (picture["width"], picture["height"])
    return [] if right else [f"{picture['image']} has {size} pixels: {case}"]


def _kie_drew_it(stand: Stand, case: Case, picture: Row) -> list[str]:
    """The picture is the one that KIE gives out for this very order."""
    if any("result_expired" in task.faults for task in case.tasks):
        return []  # its link is of no use any more
    drawn = requests.get(picture["url"], headers={"User-Agent": "proof"}, timeout=60).content
    kept = stand.stored(picture["image"])
    right = kept is not None and _pixels(kept) == _pixels(drawn)
    return [] if right else [f"{picture['image']} is not what KIE drew: {case}"]


def _pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def _customer_sees(stand: Stand, case: Case) -> list[str]:
    """The site tells its customer how the order ended, and gives out the picture."""
    if case.order is None:
        return []
    mine = {"Authorization": f"Bearer {case.wish.customer.token}"}
    answer = requests.get(
        f"{stand.site_url}/api/image/{case.order['id']}", headers=mine, timeout=60
    )
    if case.state != "done":
        right = answer.status_code >= 400 and "imageUrl" not in answer.json()
        return [] if right else [f"an order without a picture is answered {answer.text}: {case}"]
    url = answer.json().get("imageUrl", "")
    picture = requests.get(url, headers=mine, timeout=60) if url else answer
    right = hashlib.sha256(picture.content).hexdigest() == case.pictures[0]["sha256"]
    return [] if right else [f"its customer sees {answer.text}, {picture.status_code}: {case}"]


def _rows(database: psycopg.Connection[Any], query: str) -> list[Row]:
    with database.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()


def read_journal(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def faults_in(journal: list[Row]) -> dict[str, Counter[str]]:
    """What really went wrong at KIE, by where."""
    found: dict[str, Counter[str]] = {"createTask": Counter(), "tasks": Counter()}
    found |= {"recordInfo": Counter(), "callbacks": Counter(), "downloads": Counter()}
    for row in journal:
        if row["what"] == "create":
            lost = [f for f in row["faults"] if f.startswith("create")]
            found["createTask"]["accepted" if row["taskId"] else f"{row['code']}"] += 1
            found["createTask"].update(lost)
            found["tasks"].update(f for f in row["faults"] if not f.startswith("create"))
        elif row["what"] == "record":
            found["recordInfo"].update(row["faults"])
        elif row["what"] == "callback":
            found["callbacks"][f"answered {row['status']}"] += 1
        elif row["what"] == "fetch":
            found["downloads"][f"{row['status']}"] += 1
    return found
