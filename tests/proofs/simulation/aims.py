"""What a story aims at: one cell of the table, and what has to happen so that it is reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from tests.proofs.simulation.faults import ANSWERS
from tests.proofs.simulation.possible import ALONE, LOST, NO, REPORTED, YES, is_possible
from tests.proofs.simulation.world import Place

Answer = tuple[str, str]  # who is asked, and the class of the answer

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
NOWHERE = Place("", "")
UNCLEAR, GIVEN_UP = Place("tick", "lifecycle.unclear"), Place("tick", "lifecycle.give_up")
PUT_OFF, FAILED = Place("store", "lifecycle.put_off"), Place("store", "lifecycle.fail")
EXPIRED, DISCARDED = Place("store", "lifecycle.give_up"), Place("store", "lifecycle.discard")
KEPT, DONE = Place("store", "lifecycle.keep_stored"), Place("store", "lifecycle.done")
FRESH, ADOPTED = Place("store", "download-url"), Place("hear", "lifecycle.adopt")
UNHEARD = (  # hear comes here without asking where somebody died after the adoption
    Place("hear", "lifecycle.hurry"),
    Place("hear", "the bell for poll"),
    Place("hear", "callbacks.heard"),
)
OF_A_KNOWN_TASK = Place("callback", "the bell for poll")
SUBMITTING = Place("submit", "lifecycle.submitting")
NO_NEWS, RUNNING = Place("poll", "lifecycle.no_news"), Place("poll", "lifecycle.still_running")
AFTER_REPORTS = ("hear", "callback", "tick")  # steps that follow KIE's callbacks, or their absence
# Answers that only a story with two orders can have.
OF_ANOTHER = ("another order's task", "another task's", "another order's")
NO_GOOD = ("gone", "not a picture", "bad picture")
NEEDS_A_GOOD_ONE = (PUT_OFF, KEPT, DONE, EXPIRED)  # can be after NO_GOOD where another one is good

# Answers that lead to a place: without one of them hardly any step would come there.
LEADS: dict[Place, tuple[Answer, ...]] = {
    Place("submit", "lifecycle.send_back"): tuple(("createTask", name) for name in NO),
    Place("submit", "lifecycle.pause"): (("createTask", "account blocked"),),
    Place("submit", "lifecycle.fail"): (("createTask", "refused"),),
    Place("submit", "lifecycle.unclear"): tuple(("createTask", name) for name in ALONE),
    NO_NEWS: (("recordInfo", "429"), ("recordInfo", "5xx"), ("recordInfo", "no answer")),
    Place("poll", "lifecycle.fail"): (("task", "none"), ("task", "fail")),
    Place("poll", "lifecycle.give_up"): (("task", "never ends"),),
    Place("store", "lifecycle.renew"): (("link", "slow"),),
    FRESH: (("link", "expired"), ("link", "gone")),
    PUT_OFF: (("link", "trouble"), ("decoder", "dies"), ("storage", "down or full")),
    FAILED: (("link", "not a picture"), ("decoder", "bad picture")),
    EXPIRED: (("link", "gone"),),
}
# What the links do after the decoder has spoken, so that the step ends there all the same.
LINKS_AFTER_THE_DECODER = {
    PUT_OFF: ("trouble",),
    FAILED: ("not a picture",),
    EXPIRED: ("gone", "gone"),
}
# Where somebody has to have died first; "" for whoever is asked.
FIRST: dict[Place, dict[str, Place]] = {
    UNCLEAR: {"": Place("submit", "createTask, no answer yet")},
    GIVEN_UP: {"": Place("submit", "createTask, no answer yet")},
    Place("tick", "lifecycle.put_off"): {"": Place("store", "fetch")},
    **{place: {"recordInfo": ADOPTED} for place in UNHEARD},
    DONE: {asked: KEPT for asked in ("link", "download-url", "decoder", "storage")},
    DISCARDED: {
        "": Place("store", "fetch"),
        "download-url": Place("store", "download-url"),
        "decoder": Place("store", "decoding"),
        "storage": Place("store", "the picture is stored"),
    },
}


@dataclass(frozen=True)
class Aim:
    """Deaths at `place`, of orders that `asked` gives this `answer`."""

    place: Place = NOWHERE
    asked: str = ""
    answer: str = ""

    @property
    def first(self) -> Place:
        """Where somebody has to have died before."""
        places = FIRST.get(self.place, {})
        return places.get(self.asked) or places.get("", NOWHERE)

    def answers(self, rng: Random) -> list[Answer]:
        """Those that lead there, in their order for each who is asked."""
        return [*self._before(), (self.asked, self.answer), *self._leads(rng), *self._reports()]

    @property
    def asker(self) -> str:
        """Whose questions recordInfo's answers are for; "" for whoever asks."""
        if self.place == NO_NEWS or (self.place in UNHEARD and self.answer == "another task's"):
            return "poll"
        return "hear" if self.place.step == "hear" or self.place in (UNCLEAR, GIVEN_UP) else ""

    @property
    def is_after_the_answer(self) -> bool:
        """Whether who comes to the place before the answer was met is to come again."""
        return self.place in (SUBMITTING, NO_NEWS) and self.asked == "createTask"

    def _before(self) -> Iterator[Answer]:
        if self.place == DONE and self.answer in NO_GOOD:
            yield from [(self.asked, "fine")] * 2  # it is the last of three pictures
        if self.asked == "storage" and (
            self.place.after == "the thumbnail is stored"
            or self.place == KEPT
            # It dies a little later, with the thumbnail's answer.
            or (self.place.after == "the picture is stored" and self.answer == "down or full")
        ):
            yield "storage", "fine"  # for the picture
        if self.answer in OF_ANOTHER and self.asked != "callback":
            # So that it is not the other order that comes there.
            if self.place == Place("poll", "lifecycle.fail"):
                yield "task", "one picture"
            elif self.place.step == "store" and self.asked == "createTask":
                yield "task", "fail"
            elif self.place.step == "tick" and self.asked == "createTask":
                yield "callback", "once"
            elif self.place in UNHEARD and self.asked == "recordInfo":
                yield from [(self.asked, self.answer)] * 4
        if self.place in (UNCLEAR, GIVEN_UP) and self.answer == "unknown yet":
            yield from [(self.asked, self.answer)] * 9  # until it is late

    def _leads(self, rng: Random) -> Iterator[Answer]:
        if self.answer in NO_GOOD and self.place in NEEDS_A_GOOD_ONE:
            yield "task", "several pictures"
        if self.asked == "decoder" and self.place in LINKS_AFTER_THE_DECODER:
            yield from (("link", name) for name in ("fine", *LINKS_AFTER_THE_DECODER[self.place]))
        elif self.place == PUT_OFF and self.answer in ("expired", "gone"):
            yield "download-url", "trouble"
        elif self.place == FRESH and self.asked in ("decoder", "storage"):
            yield "link", "expired"
        elif self.place in LEADS and not (self.place == NO_NEWS and self.asked == "recordInfo"):
            # For each of the pictures, or until the other order's task has come to its end.
            is_for_all = self.answer == "several pictures" and self.place in (FAILED, EXPIRED)
            is_for_both = self.answer == "another order's task" and self.place == NO_NEWS
            yield from [rng.choice(LEADS[self.place])] * (3 if is_for_all or is_for_both else 1)
        elif self.place.step in ("hear", "callback") and not self._is_of_a_known_task:
            yield "createTask", rng.choice(ALONE)
        if self.asked == "download-url":
            yield "link", "expired"

    def _reports(self) -> Iterator[Answer]:
        """When KIE tells, where that matters."""
        if self._is_told_early:
            yield "callback", "early"
        elif self.place == OF_A_KNOWN_TASK and self.asked == "createTask" and self.answer in LOST:
            if self.answer == "another order's task":
                yield "callback", "once"  # of that one
            yield "callback", "twice"
        elif self.place == RUNNING and self.asked != "callback":
            yield "callback", "lost"
        elif self.place in (UNCLEAR, GIVEN_UP) and self.answer != "unknown yet":
            if self.asked != "callback":
                when = "late" if self.place == UNCLEAR else "after give-up"
                yield from [("callback", when)] * (2 if self.answer in OF_ANOTHER else 1)
            elif self.answer in REPORTED:
                yield "task", "fail"  # with KIE's 501, which does not say whose task it is

    @property
    def _is_of_a_known_task(self) -> bool:
        return self.place == OF_A_KNOWN_TASK or self._is_told_early

    @property
    def _is_told_early(self) -> bool:
        """A task whose id createTask has answered is heard of only before that."""
        return self.place.step == "hear" and self.asked == "createTask" and self.answer in YES


AIMS = [
    Aim(place, asked, name)
    for step, effects in STEPS.items()
    for place in (Place(step, effect) for effect in effects)
    for asked, classes in ANSWERS.items()
    for name in classes
    if is_possible(place, asked, name)
]
STRIDE = 7919  # through the aims, so that few stories, too, are of many kinds


def aim_of(seed: int) -> Aim:
    return AIMS[seed * STRIDE % len(AIMS)]


def seeds_for(aims: Iterable[Aim], start: int) -> list[int]:
    """Of a story for each of these aims: the first seeds from `start` on, all of them below
    `start + len(AIMS)`."""
    first = {aim_of(seed): seed for seed in range(start, start + len(AIMS))}
    return [first[aim] for aim in aims if aim in first]
