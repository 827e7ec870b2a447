"""One story: a few people, their orders, and everything that goes wrong; told by one seed."""

from __future__ import annotations

import logging
import traceback
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.utils import OperationalError
from rq.timeouts import JobTimeoutException

from generation.models import TakenBack
from tests.proofs.simulation import stand_ins
from tests.proofs.simulation.aims import (
    AFTER_REPORTS,
    DISCARDED,
    GIVEN_UP,
    NO_NEWS,
    NOWHERE,
    OF_ANOTHER,
    RUNNING,
    STEPS,
    UNCLEAR,
    Aim,
    aim_of,
)
from tests.proofs.simulation.database import Database
from tests.proofs.simulation.faults import CLASS_OF, Faults
from tests.proofs.simulation.files import Files
from tests.proofs.simulation.kie import DURATIONS, Kie, Task
from tests.proofs.simulation.people import MODELS, RICH, USERS, People, Wish
from tests.proofs.simulation.redis import Bells, Redis, Workers
from tests.proofs.simulation.ticker import Ticker
from tests.proofs.simulation.verdict import Verdict
from tests.proofs.simulation.world import Clock, Endless, Place, Step, World

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
        self.people = People(self.world, self.kie, database)
        self.ticker = Ticker(self.world, database, self.queues["orders"])
        self.verdict = Verdict(database, self.kie, self.files, self.people)
        self.dark_until = 0.0
        self.wrong: list[str] = []
        self.deaths: list[Death] = []
        self.lives: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self.audited = self.rng.choice((0.0, 0.02, 0.05))  # how many of the commits
        self.dying = self.rng.choice((0.0, 0.03, 0.1))  # how many of the steps
        self.dying_left = self.rng.choice((2, 4, 10))
        self.aim = Aim()  # steps that come to its place mostly die there
        self.first = NOWHERE  # and here, so that others come there
        self.is_calm = False
        self.has_met = False  # has an order been answered what the aim is about?
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
        self.ticker.stray = rng.random() < 0.85
        world.switches = rng.choice((0.0, 0.03, 0.3))
        world.stalls = rng.choice((0.0, 0.0, 0.002, 0.01))
        self.database.faults = rng.choice((0.0, 0.0, 0.0, 0.0, 0.004))
        if rng.random() < 0.95:
            self._aim()
        # Seconds until all is well again.
        trouble = rng.choice((30.0, 60.0, 100.0, 400.0, 400.0, 3000.0))
        if self.is_calm:  # what is forced is to happen before
            trouble = {UNCLEAR: 3000.0, GIVEN_UP: 8000.0}.get(self.aim.place, 400.0)
        self._place_orders()
        if not self.is_calm:
            self._plan(rng.choice((0, 0, 1, 2)), trouble, self._redis_goes)
            self._plan(rng.choice((0, 0, 1)), trouble, self._redis_forgets)
            self._plan(rng.choice((0, 0, 0, 1)), trouble, self._power_goes)
            self._plan(rng.choice((0, 1, 3)), trouble * 3, self.people.look_after)
        if "account blocked" in self.faults.forced["createTask"]:  # the bill is paid before that
            self._plan(3, 100.0, self.people.look_after)
        world.later(trouble, self._all_is_well)

    def _aim(self) -> None:
        """Makes sure of a rare meeting. In a calm story hardly anything else goes wrong, so that it
        comes to that."""
        rng = self.rng
        self.aim = aim_of(self.world.seed)
        self.first = self.aim.first
        self.is_calm = rng.random() < 0.8
        # Who dies three times at one place is set aside, and does not come far.
        self.dying_left = rng.choice((2, 2, 2, 4) if self.is_calm else (4, 10))
        if self.is_calm:
            self.dying = 0.0
            self.faults.calm()
        for answer in self.aim.answers(rng):
            self.faults.force(*answer)
        self.faults.asker = self.aim.asker
        if self.aim.place in (NO_NEWS, RUNNING):
            self.kie.durations = DURATIONS[-2:]
        if self.is_calm or self.aim.place.step in AFTER_REPORTS or self.aim.asked == "callback":
            settings.PUBLIC_URL = stand_ins.SITE
        if self.aim.answer == "unsigned":  # where that matters, it is refused
            settings.KIE_WEBHOOK_KEY = ""
        if self.aim.place == Place("submit", "lifecycle.wait"):
            settings.KIE_CREATES = 1

    def _place_orders(self) -> None:
        rng = self.rng
        others = self.aim.answer in OF_ANOTHER or settings.KIE_CREATES == 1
        wishes = 1 if self.is_calm else rng.choice((1, 1, 1, 2, 2, 3))
        for number in range(others + wishes):
            model = rng.choice((MODELS[0], MODELS[0], MODELS[1]))
            user = RICH if self.is_calm else rng.choice(list(USERS))
            wish = Wish(f"wish {number + 1}", user, model, rng.random() < 0.5)
            at = rng.choice((0.0, 0.5, rng.uniform(0, 30)))
            if self.is_calm and self.aim.answer == "another order's task":
                at = 5.0 * number  # the first one's task is known by then
            for _click in range(1 if self.is_calm else rng.choice((1, 1, 1, 2))):
                self._at(at, self.people.click, wish)
            if self._changes_mind(self.aim.place.step == "cancel"):
                self._at(at + rng.choice((0.01, 0.2, 5, 60)), self.people.cancel, wish)
            if self._changes_mind(self.aim.place.step == "take back"):
                later = rng.choice((0.1, 0.3, 1, 5, 20, 60, 2500))
                self._at(at + later, self.people.take_back, wish, rng.choice(list(TakenBack)))

    def _changes_mind(self, is_aim: bool) -> bool:
        """By chance. In a calm story it is at the right moment (`_change_mind`, `_on_death`)."""
        return not self.is_calm and self.rng.random() < (0.9 if is_aim else 0.2)

    def _change_mind(self, wish: Wish) -> None:
        """Where the story is about that: soon, and once more."""
        if self.aim.place.step == "cancel":
            self._at(1, self.people.cancel, wish)
        if self.aim.place.step == "take back":
            for later in (0.05, 15):
                self._at(later, self.people.take_back, wish, self.rng.choice(list(TakenBack)))

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
        places = (self.first, self.aim.place)
        if self.aim.answer == "another order's task" and not self._known_tasks():
            places = ()  # that other order comes first
        if self.aim.is_after_the_answer and not self.has_met:
            places = ()
        aimed = next((place for place in places if place.step == step.name), None)
        if self.dying_left > 0 and rng.random() < (0.95 if aimed else self.dying):
            step.dies_after = rng.randint(1, len(STEPS[step.name]))
            step.dies_in = rng.choice((0, 0, 0, 1, 2, 4))
            if aimed and rng.random() < (0.95 if self.is_calm else 0.7):
                step.dies_at = aimed.after
                step.dies_in = 0 if aimed == self.first else rng.choice((0, 0, 0, 1))

    def _on_death(self, step: Step) -> None:
        tokens = set() if step.about else step.words
        orders = self._orders_of(step.about or {*step.words, *step.answers}, tokens)
        self.dying_left -= bool(orders)
        if step.place == self.first:
            self.first = NOWHERE
            if self.aim.place == DISCARDED:
                for order in orders:
                    wish = self.people.wishes[order]
                    self._at(5, self.people.take_back, wish, TakenBack.DISCARD)
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
        if (asked, name) == (self.aim.asked, self.aim.answer) and order in self.people.wishes:
            self.has_met = True
            if self.is_calm:
                self._change_mind(self.people.wishes[order])

    def _on_accept(self, task: Task) -> None:
        if self.is_calm and self.aim.place.step == "take back" and task.order in self.people.wishes:
            self._change_mind(self.people.wishes[task.order])  # before it is made and stored
        if task.fate == "never ends" and self.rng.random() < 0.98:
            # Not to ask after it a thousand times until the day is over.
            self._at(self.rng.choice((10, 60)), self._power_goes, DAY)
        if self.aim.place == GIVEN_UP and self.aim.answer == "unknown yet":
            self._at(50, self._power_goes, 2000.0)  # else somebody would hear of it in time

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
