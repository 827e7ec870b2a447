"""What must be true of a story: the product's books against KIE's own and against what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.proofs.simulation.database import Database
from tests.proofs.simulation.files import Files, picture
from tests.proofs.simulation.kie import BLOCKED, NO_FOR_NOW, Kie, Task
from tests.proofs.simulation.people import USERS, People, Wish
from tests.proofs.simulation.world import Step

# After these createTask may go out again: KIE has clearly not taken the order.
CLEAR_NO = {*NO_FOR_NOW, *BLOCKED, "HTTP 429", "connection refused", "no connection in time"}
# What only the worker may write who has the order's lease, and the tick when that has run out.
LEASED = {
    f"lifecycle.{name}"
    for name in (
        "submitting",
        "send_back",
        "wait",
        "unclear",
        "still_running",
        "ask_again",
        "no_news",
        "succeeded",
        "renew",
        "put_off",
        "discard",
        "done",
        "fail",
        "give_up",
    )
}
OPEN = ("queued", "submitting", "unknown", "running", "storing")

ORDERS = """
SELECT id, prompt, state, task_id, taken_back, price, lease_token, reason
FROM generation_generation ORDER BY prompt
"""
ENTRIES = """
SELECT kind, -balance_change FROM credits_ledgerentry
WHERE reference LIKE 'generation:' || ? || ':%' ORDER BY id
"""
TAKES = """
SELECT output.url, take.image FROM generation_output output
JOIN projects_take take ON take.id = output.take_id
WHERE output.generation_id = ? ORDER BY output."index"
"""
BOOKS = """
SELECT owner.username, book.balance, book.held,
  (SELECT COALESCE(SUM(-balance_change), 0) FROM credits_ledgerentry
   WHERE ledger_id = book.id AND kind = 'capture')
FROM credits_creditledger book JOIN auth_user owner ON owner.id = book.owner_id
"""


@dataclass(frozen=True)
class Order:
    id: str
    name: str
    state: str
    task_id: str | None
    taken_back: str
    price: int
    lease_token: str
    reason: str


class Verdict:
    def __init__(self, database: Database, kie: Kie, files: Files, people: People) -> None:
        self.database, self.kie, self.files, self.people = database, kie, files, people
        self._workers: dict[str, Step] = {}  # who claimed each order last

    def at_a_write(self, step: Step) -> list[str]:
        """The step has just written something that lasts: might it?"""
        what = step.effects[-1]
        if what == "lifecycle.claim":
            for id_, token in self.database.rows(
                "SELECT id, lease_token FROM generation_generation"
            ):
                if token in step.about:
                    self._workers[id_] = step
        if what not in LEASED or not step.is_job:
            return []
        return [
            f"{step.name}: {what} of {id_}, which another worker has"
            for id_ in sorted(step.about & self._workers.keys())
            if self._workers[id_] is not step
        ]

    def at_a_create(self, name: str) -> list[str]:
        """createTask has arrived at KIE: was it right to send it?"""
        *before, _this = [call.answer for call in self.kie.calls if call.order == name]
        state = self.database.rows(
            "SELECT state FROM generation_generation WHERE prompt = ?", name
        )[0][0]
        wrong = []
        if not CLEAR_NO.issuperset(before):
            wrong.append(f"{name} is sent again after: {', '.join(before)}")
        # While it was on its way a callback may have told, or the sweep have noticed its lease.
        if state == "queued":
            wrong.append(f"{name} is sent and the database does not know")
        if self.people.wishes[name].is_cancelled:
            wrong.append(f"{name} is sent although it is cancelled")
        return wrong

    def at_the_end(self) -> list[str]:
        audits = self.database.violations() if self.database.is_wrong() else []
        return [*audits, *self._of_orders(), *self._of_books()]

    def _of_orders(self) -> Iterator[str]:
        for row in self.database.rows(ORDERS):
            order = Order(*row)
            wish = self.people.wishes[order.name]
            tasks = [task for task in self.kie.tasks.values() if task.order == order.name]
            for words in self._of_order(order, wish, tasks):
                yield f"{order.name} ({order.state} {order.reason}): {words}"

    def _of_order(self, order: Order, wish: Wish, tasks: list[Task]) -> Iterator[str]:
        if order.state in OPEN or order.lease_token:
            yield "it is still open"
        if len(tasks) > 1:
            yield f"KIE has taken it {len(tasks)} times"
        if wish.is_cancelled and (tasks or order.state != "cancelled"):
            yield "it was cancelled"
        takes = self.database.rows(TAKES, order.id)
        yield from self._of_money(order, wish, takes)
        yield from self._of_takes(order, takes, tasks)
        if tasks:
            yield from self._of_task(order, wish, takes, tasks[0])
        elif takes:
            yield "it has a picture and KIE has no task"

    def _of_money(self, order: Order, wish: Wish, takes: list[Any]) -> Iterator[str]:
        entries = self.database.rows(ENTRIES, order.id)
        kinds = [kind for kind, _ in entries]
        charges = [amount for kind, amount in entries if kind == "capture"]
        if kinds not in (["hold", "capture"], ["hold", "release"]):
            yield f"its entries are {kinds}"
        if charges and charges != [wish.price]:
            yield f"charged {charges}, the button said {wish.price}"
        if charges and not takes:
            yield "charged without a picture"
        if charges and order.taken_back:
            yield f"charged although its credits were taken back ({order.taken_back})"

    def _of_takes(self, order: Order, takes: list[Any], tasks: list[Task]) -> Iterator[str]:
        if takes and order.taken_back == "discard":
            yield "it has a picture that was to be thrown away"
        own = [url for task in tasks for url in task.pictures]
        for url, image in takes:
            if url not in own:
                yield f"its picture {url} is of another order"
            elif self.files.stored.get(image) != picture(url):
                yield f"its picture {image} is not in the storage as KIE made it"

    def _of_task(self, order: Order, wish: Wish, takes: list[Any], task: Task) -> Iterator[str]:
        """What is paid for at KIE and known to us has to arrive."""
        known = order.task_id == task.id or task.is_reported
        if known and self._can_be_had(task) and not takes and not self._is_not_wanted(order, wish):
            yield f"its picture is lost: task {task.number} {task.id}, {task.fate}"
        if order.state == "done" and not task.has_pictures:
            yield f"done, and its task ended with: {task.fate}"

    def _can_be_had(self, task: Task) -> bool:
        """Is there one picture at least that nothing was found wrong with?"""
        return task.has_pictures and not self.files.lost.issuperset(task.pictures)

    def _is_not_wanted(self, order: Order, wish: Wish) -> bool:
        return order.taken_back == "discard" or wish.is_closed

    def _of_books(self) -> Iterator[str]:
        for user, balance, held, charged in self.database.rows(BOOKS):
            if held:
                yield f"{user}: {held} still held"
            if balance != USERS[user] - charged:
                yield f"{user}: {balance} left of {USERS[user]}, {charged} charged"
