"""How each side of the outside behaves in one story: which answers it gives, and how often."""

from __future__ import annotations

from collections import defaultdict
from random import Random

# Who is asked, the classes of answers, and the forms that an answer of each class takes. The first
# class is how it goes when all is well.
ANSWERS: dict[str, dict[str, tuple[str, ...]]] = {
    "createTask": {
        "accepted": ("accepted",),
        "accepted, slowly": ("accepted, slowly",),
        "accepted, answer lost": ("accepted, no answer", "accepted, connection reset"),
        "accepted, HTML 502": ("accepted, HTML 502",),
        "accepted, no task id": ("accepted, no task id", "accepted, 500 unknown words"),
        "another order's task": ("another order's task",),
        "refused": ("refused 422", "refused 400", "refused 500, known words"),
        "429": ("429", "HTTP 429"),
        "455": ("455",),
        "no connection": ("connection refused", "no connection in time"),
        "account blocked": ("401", "402", "402 as 500", "433"),
        "not accepted, unclear": (
            "not accepted, 500 unknown words",
            "not accepted, HTML 502",
            "not accepted, connection reset",
        ),
    },
    "recordInfo": {
        "as it is": ("as it is",),
        "unknown yet": ("unknown yet",),
        "429": ("429", "HTTP 429"),
        "5xx": ("500 unknown words", "HTML 502"),
        "no answer": ("no answer", "connection reset", "connection refused"),
        "account blocked": ("401", "402"),
        "another task's": ("another task's",),
    },
    "task": {
        "one picture": ("one picture",),
        "several pictures": ("several pictures",),
        "none": ("success without a picture",),
        "fail": ("fail, render", "fail, unsafe", "501"),
        "never ends": ("never ends",),
    },
    "link": {
        "fine": ("fine",),
        "slow": ("slow",),
        "expired": ("expired, a fresh one works",),
        "gone": ("expired for good",),
        "trouble": ("503", "no answer", "cut off"),
        "not a picture": ("not a picture",),
    },
    "download-url": {
        "fine": ("fine",),
        "trouble": ("429", "500 unknown words", "no answer"),
    },
    "decoder": {
        "fine": ("fine",),
        "bad picture": ("broken picture", "crashes"),
        "dies": ("dies", "hangs"),
        "dies every time": ("dies every time",),
    },
    "storage": {
        "fine": ("fine",),
        "slow": ("slow",),
        "down or full": ("down", "disk full"),
        "written, no answer": ("written, no answer",),
    },
    "callback": {
        "once": ("once",),
        "lost": ("lost",),
        "twice": ("twice",),
        "late": ("late",),
        "after give-up": ("after give-up",),
        "early": ("early",),
        "unsigned": ("unsigned",),
        "another order's": ("of another order's task",),
        "nobody's": ("of a task nobody knows",),
    },
}
CLASS_OF = {
    (asked, form): name
    for asked, classes in ANSWERS.items()
    for name, forms in classes.items()
    for form in forms
}


class Faults:
    """Draws answers. A story knows only some faults, each in a strength of its own (swarm)."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.is_over = False
        self.asker = ""  # the step that recordInfo's forced answers are for; "" for any
        self.forced: defaultdict[str, list[str]] = defaultdict(list)
        self._weights: dict[str, list[float]] = {}
        for asked, classes in ANSWERS.items():
            strength = rng.choice((0.0, 0.3, 1.0, 3.0))
            faults = [
                strength * rng.random() * (rng.random() < 0.4) for _ in range(1, len(classes))
            ]
            self._weights[asked] = [1.0, *faults]

    def calm(self) -> None:
        """All goes well, but for what is forced."""
        self._weights = {
            asked: [1.0, *(0.0 for _ in weights[1:])] for asked, weights in self._weights.items()
        }

    def force(self, asked: str, name: str) -> None:
        """The next answer, behind those that are forced already, is of this class."""
        self.forced[asked].append(name)

    def keep(self, asked: str, name: str) -> None:
        """What nobody could be answered now is the next answer."""
        self.forced[asked].insert(0, name)

    def draw(self, asked: str, by: str = "") -> str:
        """The form of an answer. `by`: the step that asks recordInfo."""
        classes = list(ANSWERS[asked].values())
        if self.is_over:
            return classes[0][0]
        if self.forced[asked] and by in ("", self.asker or by):
            return self.rng.choice(ANSWERS[asked][self.forced[asked].pop(0)])
        return self.rng.choice(self.rng.choices(classes, self._weights[asked])[0])
