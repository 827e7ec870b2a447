"""One story: a few people, their orders, and everything that goes wrong; told by one seed."""

from __future__ import annotations

import logging
import traceback
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.utils import OperationalError
from rq.timeouts import JobTimeoutException

from generation.models import TakenBack
from tests.proofs.simulation import stand_ins
from tests.proofs.simulation.database import Database
from tests.proofs.simulation.faults import ANSWERS, CLASS_OF, Faults
from tests.proofs.simulation.files import Files
from tests.proofs.simulation.kie import Kie, Task
from tests.proofs.simulation.people import MODELS, USERS, People, Wish
from tests.proofs.simulation.possible import LOST, NO, REPORTED, is_possible
from tests.proofs.simulation.redis import Bells, Redis, Workers
from tests.proofs.simulation.ticker import Ticker
from tests.proofs.simulation.verdict import Verdict
from tests.proofs.simulation.world import Clock, Endless, Place, Step, World

# What each step leaves behind that lasts; it may die after any of it.
STEPS = {
    "place": ("lifecycle.place", "the bell for submit"),
    "submit": (
        "lifecycle.claim",
        "a place in the window",
        "the bell for submit",
        "lifecycle.submitting",
        "createTask, no answer yet",
        "createTask",
        "lifecycle.adopt",
        "lifecycle.send_back",
        "lifecycle.pause",
        "lifecycle.fail",
        "lifecycle.unclear",
        "lifecycle.wait",
    ),
    "poll": (
        "a place in the window",
        "lifecycle.claim",
        "recordInfo",
        "lifecycle.no_news",
        "lifecycle.still_running",
        "lifecycle.succeeded",
        "lifecycle.fail",
        "lifecycle.give_up",
        "the bell for store",
    ),
    "hear": (
        "recordInfo",
        "lifecycle.adopt",
        "lifecycle.hurry",
        "the bell for poll",
        "callbacks.heard",
    ),
    "store": (
        "lifecycle.claim",
        "the bell for store",
        "fetch",
        "download-url",
        "lifecycle.renew",
        "decoding",
        "the picture is stored",
        "the thumbnail is stored",
        "lifecycle.keep_stored",
        "lifecycle.put_off",
        "lifecycle.done",
        "lifecycle.fail",
        "lifecycle.give_up",
        "lifecycle.discard",
    ),
    "callback": ("callbacks.keep", "the bell for hear", "the bell for poll"),
    "tick": (
        "lifecycle.unclear",
        "lifecycle.give_up",
        "lifecycle.put_off",
        "the bell for submit",
        "the bell for poll",
        "the bell for store",
        "the bell for hear",
    ),
    "cancel": ("lifecycle.cancel",),
    "take back": ("lifecycle.take_back",),
}
# Places where a story seldom comes to, even where it aims there.
RARE = (
    Place("submit", "lifecycle.submitting"),
    Place("store", "lifecycle.discard"),
    Place("tick", "lifecycle.unclear"),
    Place("tick", "lifecycle.give_up"),
    Place("cancel", "lifecycle.cancel"),
    Place("take back", "lifecycle.take_back"),
)
CELLS = [
    (place, asked, name)
    for step, effects in STEPS.items()
    for place in (Place(step, effect) for effect in effects)
    for asked, classes in ANSWERS.items()
    for name in classes
    if is_possible(place, asked, name)
    for _time in range(3 if place in RARE else 1)
]
STRIDE = 7919  # through the cells, so that few stories, too, are of many kinds
NOWHERE = Place("", "")
BLOCKED = "account blocked"
# Answers that lead to a place: without one of them hardly any step would come there.
LEADS: dict[Place, tuple[tuple[str, str], ...]] = {
    Place("submit", "lifecycle.send_back"): tuple(("createTask", name) for name in NO),
    Place("submit", "lifecycle.pause"): (("createTask", BLOCKED),),
    Place("submit", "lifecycle.fail"): (("createTask", "refused"),),
    Place("submit", "lifecycle.unclear"): tuple(("createTask", name) for name in LOST),
    Place("poll", "lifecycle.fail"): (("task", "none"), ("task", "fail")),
    Place("poll", "lifecycle.give_up"): (("task", "never ends"),),
    Place("hear", "lifecycle.adopt"): tuple(("createTask", name) for name in LOST),
    Place("store", "lifecycle.renew"): (("link", "slow"),),
    Place("store", "download-url"): (("link", "expired"), ("link", "gone")),
    Place("store", "lifecycle.put_off"): (
        ("link", "trouble"),
        ("decoder", "dies"),
        ("storage", "down or full"),
    ),
    Place("store", "lifecycle.fail"): (("link", "not a picture"), ("decoder", "bad picture")),
    Place("store", "lifecycle.give_up"): (("link", "gone"),),
    Place("tick", "lifecycle.give_up"): tuple(("createTask", name) for name in LOST),
}
# Where somebody has to have died first.
FIRST = {
    Place("tick", "lifecycle.unclear"): Place("submit", "createTask, no answer yet"),
    Place("tick", "lifecycle.give_up"): Place("submit", "createTask, no answer yet"),
    Place("tick", "lifecycle.put_off"): Place("store", "fetch"),
    Place("store", "lifecycle.discard"): Place("store", "fetch"),
}
NO_GOOD = ("gone", "not a picture", "bad picture")
# What can be, after one of several pictures was no good, because another is.
NEEDS_A_GOOD_ONE = (
    "lifecycle.put_off",
    "lifecycle.keep_stored",
    "lifecycle.done",
    "lifecycle.give_up",
)
AFTER_REPORTS = ("hear", "callback", "tick")  # steps that follow KIE's callbacks, or their absence
# Answers that only a story with two orders can have.
OF_ANOTHER = ("another order's task", "another task's", "another order's")
# Where credits have been taken back, and what was said then of a picture that comes.
TAKES_BACK = {"lifecycle.take_back": None, "lifecycle.discard": TakenBack.DISCARD}
DAY = 86_400.0
VISITS = 3  # of staff to what is on their list after a day, when our patience has ended
INJECTED = (OperationalError, JobTimeoutException)


@dataclass
class Death:
    """Where a step died, with which orders in its hands, and what it had been answered by then."""

    place: Place
    orders: list[str]
    answers: dict[str, dict[str, str]]


class Story:
    """`wrong` is what must not be; `deaths` and `lives` are for the table."""

    def __init__(self, seed: int, database: Database, *, is_told: bool = False) -> None:
        self.world = Clock.world = World(seed, is_told=is_told)
        self.rng = self.world.rng
        self.database = database
        database.begin(self.world)
        self.faults = Faults(self.rng)
        self.kie = Kie(self.world, self.faults)
        self.files = Files(self.world, self.faults)
        self.redis = Redis(self.world)
        self.bells = Bells(*(self.rng.choice((0.0, 0.0, 0.1, 0.5)) for _ in range(4)))
        self.queues = {
            name: Workers(self.world, self.redis, name, self.rng.choice((1, 2, 3)), self.bells)
            for name in ("orders", "pictures")
        }
        stand_ins.take_their_places(self)
        self.people = People(self.world, self.kie)
        self.ticker = Ticker(self.world, database, self.queues["orders"])
        self.verdict = Verdict(database, self.kie, self.files, self.people)
        self.dark_until = 0.0
        self.wrong: list[str] = []
        self.deaths: list[Death] = []
        self.lives: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self.audited = self.rng.choice((0.0, 0.02, 0.05))  # how many of the commits
        self.dying = self.rng.choice((0.0, 0.03, 0.1))  # how many of the steps
        self.dying_left = self.rng.choice((2, 4, 10))
        self.aim = NOWHERE  # steps that come here mostly die here
        self.first = NOWHERE  # and here, so that others come there
        self.answer = ""  # that somebody is going to get
        self.is_calm = False
        self._listen()

    def tell(self) -> list[str]:
        """The whole of it; what was wrong."""
        self._begin()
        try:
            self._go_on()
            for _visit in range(VISITS if self.world.now > DAY else 0):
                self.dying_left = 0  # who tries once more does so until nobody dies of it
                self.people.look_after(carefully=True)
                self._go_on()
        except Endless as endless:
            self.wrong.append(f"it does not come to its end: {endless}")
        if not self.wrong:
            self.wrong += self.verdict.at_the_end()
        return self.wrong

    def _go_on(self) -> None:
        """Until nothing is to come, or something is wrong."""
        self.world.run(until=lambda: bool(self.wrong))

    def _listen(self) -> None:
        world = self.world
        world.on_death, world.on_error = self._on_death, self._on_error
        self.kie.report = self.people.report
        self.kie.on_answer = self.files.on_answer = self._on_answer
        self.kie.on_accept = self._on_accept
        self.kie.on_create = self._on_create
        self.kie.known_tasks = self._known_tasks
        self.files.order_of = self._order_of
        self.people.on_step = self.on_step
        self.database.on_write = self._on_write
        self.ticker.on_step = self.on_step
        for queue in self.queues.values():
            queue.on_job = self.on_step
        LOG.story = self

    # What happens to it

    def _begin(self) -> None:
        rng, world = self.rng, self.world
        self.ticker.stray = rng.random() < 0.6
        world.switches = rng.choice((0.0, 0.03, 0.3))
        world.stalls = rng.choice((0.0, 0.0, 0.002, 0.01))
        self.database.faults = rng.choice((0.0, 0.0, 0.0, 0.0, 0.004))
        if rng.random() < 0.95:
            self._aim()
        # Seconds until all is well again.
        trouble = 3000.0 if self.is_calm else rng.choice((30.0, 60.0, 100.0, 400.0, 400.0, 3000.0))
        self._place_orders()
        if not self.is_calm:
            self._plan(rng.choice((0, 0, 1, 2)), trouble, self._redis_goes)
            self._plan(rng.choice((0, 0, 1)), trouble, self._redis_forgets)
            self._plan(rng.choice((0, 0, 0, 1)), trouble, self._power_goes)
        self._plan(rng.choice((0, 1, 3)), trouble * 3, self.people.look_after)
        if BLOCKED in self.faults.forced["createTask"]:  # and is paid for before all is well
            self._plan(3, 100.0, self.people.look_after)
        world.later(trouble, self._all_is_well)

    def _aim(self) -> None:
        """Makes sure of a rare meeting: deaths at this place, of orders that get this answer.

        In a calm story hardly anything else goes wrong, so that it comes to that.
        """
        rng = self.rng
        self.aim, asked, self.answer = CELLS[self.world.seed * STRIDE % len(CELLS)]
        self.first = FIRST.get(self.aim, NOWHERE)
        if self.aim.after == "lifecycle.done" and asked == "decoder":
            self.first = Place("store", "lifecycle.keep_stored")  # it is not asked again
        self.dying_left = rng.choice((4, 10))
        self.is_calm = rng.random() < 0.7
        if self.is_calm:
            self.faults.calm()
        if self.aim.step in AFTER_REPORTS or asked == "callback" or self.is_calm:
            settings.PUBLIC_URL = stand_ins.SITE
        if self.aim == Place("submit", "lifecycle.wait"):
            settings.KIE_CREATES = 1
        self.faults.force(asked, self.answer)
        for lead in self._leads(asked):
            self.faults.force(*lead)

    def _leads(self, asked: str) -> Iterator[tuple[str, str]]:
        """Answers that lead to where this story aims."""
        rng, after = self.rng, self.aim.after
        if self.answer in NO_GOOD and after in NEEDS_A_GOOD_ONE:
            yield "task", "several pictures"
        if asked == "decoder" and after in ("lifecycle.fail", "lifecycle.give_up"):
            yield "link", "fine"  # at first
        if asked == "download-url":
            yield "link", "expired"
        if self.aim in LEADS:
            yield rng.choice(LEADS[self.aim])
        elif self.aim.step in AFTER_REPORTS:
            yield "createTask", rng.choice(LOST)
        if self.aim.step == "tick" and after in ("lifecycle.unclear", "lifecycle.give_up"):
            if asked != "callback":
                yield "callback", "late" if after == "lifecycle.unclear" else "after give-up"
            elif self.answer in REPORTED:
                yield "task", "fail"  # with KIE's 501, which does not say whose task it is

    def _place_orders(self) -> None:
        rng = self.rng
        others = self.answer in OF_ANOTHER or settings.KIE_CREATES == 1
        wishes = 1 if self.is_calm else rng.choice((1, 1, 1, 2, 2, 3))
        for number in range(others + wishes):
            model = rng.choice((MODELS[0], MODELS[0], MODELS[1]))
            wish = Wish(f"wish {number + 1}", rng.choice(list(USERS)), model, rng.random() < 0.5)
            at = rng.choice((0.0, 0.5, rng.uniform(0, 30)))
            for _click in range(rng.choice((1, 1, 1, 2))):
                self._at(at, self.people.click, wish)
            if self._changes_mind(self.aim.step == "cancel"):
                later = rng.choice((2, 5, 8) if self.is_calm else (0.01, 0.2, 5, 60))
                self._at(at + later, self.people.cancel, wish)
            if self._changes_mind(self.aim.after in TAKES_BACK):
                then = TAKES_BACK.get(self.aim.after) or rng.choice(list(TakenBack))
                self._at(at + self._until_taken_back(), self.people.take_back, wish, then)

    def _until_taken_back(self) -> float:
        """Seconds from the click."""
        if self.aim.after == "lifecycle.discard":
            return self.rng.choice((8, 20))  # somebody has died in the meantime
        calmly, wildly = (0.1, 0.3, 1, 3, 8, 70), (0.1, 0.3, 1, 5, 60, 2500)
        return self.rng.choice(calmly if self.is_calm else wildly)

    def _changes_mind(self, is_aim: bool) -> bool:
        return self.rng.random() < (0.9 if is_aim else 0.0 if self.is_calm else 0.2)

    def _at(self, seconds: float, do: Any, *arguments: Any) -> None:
        self.world.later(seconds, lambda: do(*arguments))

    def _plan(self, number: int, within: float, do: Any) -> None:
        for _ in range(number):
            self._at(self.rng.uniform(0, within), do)

    def _redis_goes(self) -> None:
        self.world.tell("Redis is down")
        self.redis.is_down = True
        self._at(self.rng.choice((1, 10, 120)), self._redis_comes)

    def _redis_comes(self) -> None:
        if self.redis.is_down:
            self.world.tell("Redis is up")
            self.redis.is_down = False
            self.ticker.wake()
            for queue in self.queues.values():
                queue.look()

    def _redis_forgets(self) -> None:
        self.world.tell("FLUSHALL")
        self.redis.flush()
        for queue in self.queues.values():
            queue.flush()

    def _power_goes(self, seconds: float = 0) -> None:
        """Every process of the site ends at once."""
        self.world.tell("the power is cut")
        self.people.is_site_off = self.ticker.is_off = True
        for queue in self.queues.values():
            queue.is_off = True
        self.world.kill_all()
        seconds = seconds or self.rng.choice((3, 60, 2000, DAY))
        self.dark_until = max(self.dark_until, self.world.now + seconds)
        self._at(seconds, self._power_comes)

    def _power_comes(self) -> None:
        if self.people.is_site_off and self.world.now >= self.dark_until:
            self.world.tell("the power is back")
            self.people.is_site_off = self.ticker.is_off = False
            self.ticker.wake()
            for queue in self.queues.values():
                queue.is_off = False
                queue.look()
            self.people.look_after()

    def _all_is_well(self) -> None:
        """The outside is as it should be from here on, and every order has to find its end.

        Processes may still die, as often as this story lets them.
        """
        self.world.tell("all is well from here on")
        self.faults.is_over = True
        self.database.faults = self.world.stalls = 0.0
        self.bells.lost = self.bells.doubled = self.bells.delayed = self.bells.reordered = 0.0
        self.files.heal()
        self._redis_comes()
        self.people.look_after()
        self._at(60, self.people.look_after)  # answers from before may have been on their way

    # What it is told

    def on_step(self, step: Step) -> None:
        """Shall it die, and where?"""
        if step.is_spared:
            return
        rng = self.rng
        aimed = next((p for p in (self.first, self.aim) if p.step == step.name), None)
        if self.dying_left > 0 and rng.random() < (0.9 if aimed else self.dying):
            step.dies_after = rng.randint(1, len(STEPS[step.name]))
            step.dies_in = rng.choice((0, 0, 0, 1, 2, 4))
            if aimed and rng.random() < 0.8:
                step.dies_at, step.dies_in = aimed.after, rng.choice((0, 0, 0, 1))

    def _on_death(self, step: Step) -> None:
        tokens = set() if step.about else step.words
        orders = self._orders_of(step.about or {*step.words, *step.answers}, tokens)
        self.dying_left -= bool(orders)
        if step.place == self.first:
            self.first = NOWHERE
        self.deaths.append(Death(step.place, orders, step.answers))

    def _orders_of(self, words: set[str], tokens: set[str]) -> list[str]:
        """Names of the orders that have one of these names or ids, or one of these leases."""
        rows = self.database.rows(
            "SELECT prompt, id, lease_token FROM generation_generation ORDER BY prompt"
        )
        return [name for name, id_, token in rows if {name, id_} & words or token in tokens]

    def _on_error(self, step: Step, error: Exception) -> None:
        if not isinstance(error, INJECTED):
            self.wrong.append(f"{step.name}: {type(error).__name__}: {error}")
            if self.world.is_told:
                traceback.print_exception(error)

    def _on_answer(self, order: str, asked: str, answer: str) -> None:
        step = self.world.step
        if step and step.is_dead:
            return
        name = CLASS_OF[asked, answer]
        self.lives[order][asked].append(name)
        if step:
            step.answers[order][asked] = name

    def _on_accept(self, task: Task) -> None:
        if task.fate == "never ends" and self.rng.random() < 0.98:
            # Not to ask after it a thousand times until the day is over.
            self._at(self.rng.choice((10, 60)), self._power_goes, DAY)

    def _on_create(self, order: str) -> None:
        self.wrong += self.verdict.at_a_create(order)

    def _on_write(self) -> None:
        self.ticker.wake()
        if step := self.world.step:
            self.wrong += self.verdict.at_a_write(step)
        watched = self.rng.random() < self.audited or self.world.is_told
        if watched and self.database.is_wrong():
            self.wrong += self.database.violations()

    def _known_tasks(self) -> list[str]:
        rows = self.database.rows(
            "SELECT task_id FROM generation_generation WHERE task_id IS NOT NULL ORDER BY task_id"
        )
        return [task_id for (task_id,) in rows]

    def _order_of(self, name: str) -> str:
        """Of a link of KIE's, or a file's name in the storage."""
        last = name.partition("?")[0].rpartition("/")[2]
        if task := self.kie.tasks.get(last.partition("_")[0]):
            return task.order
        rows = self.database.rows(
            "SELECT prompt FROM generation_generation WHERE id = ?", last[:24]
        )
        return rows[0][0] if rows else ""


class Log(logging.Handler):
    """An exception that the product only logs is a fault of it, unless the story threw it."""

    story: Story | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.story is None:
            return
        if self.story.world.is_told:
            self.story.world.tell(f"    log: {record.getMessage()}")
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, INJECTED):
            words = f"{record.getMessage()}: {type(error).__name__}: {error}"
            self.story.wrong.append(f"logged: {words}")


LOG = Log()
