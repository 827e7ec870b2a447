"""Which meetings of a death and an answer can be at all, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.proofs.simulation.faults import ANSWERS
from tests.proofs.simulation.world import Place

NO = ("429", "455", "no connection", "account blocked")  # clear: it may be sent again
YES = ("accepted", "accepted, slowly")
ALONE = ("accepted, answer lost", "accepted, HTML 502", "accepted, no task id")
LOST = (*ALONE, "another order's task")  # that one needs another order
PICTURES = ("one picture", "several pictures")
REPORTED = tuple(name for name in ANSWERS["callback"] if name != "lost")
NOTHING_MADE: Mapping[str, tuple[str, ...]] = {
    asked: () for asked in ANSWERS if asked != "createTask"
}
NO_PICTURE: Mapping[str, tuple[str, ...]] = {
    asked: () for asked in ("link", "download-url", "decoder", "storage")
}


@dataclass(frozen=True)
class Rule:
    """At these places (patterns of their names) only these classes can be met, because of `why`."""

    places: tuple[str, ...]
    only: Mapping[str, tuple[str, ...]]
    why: str
    is_strict: bool = True  # else it is rare, but it can be


RULES = (
    Rule(
        ("tick: after the bell*", "tick: after lifecycle.sweep", "poll: after a place in*"),
        {asked: () for asked in ANSWERS},
        "there is hardly ever an order in hand",
        is_strict=False,
    ),
    Rule(
        ("poll: after lifecycle.wait",),
        {asked: () for asked in ANSWERS},
        "only where an answer could not be kept",
        is_strict=False,
    ),
    Rule(
        ("cancel: *", "submit: after lifecycle.submitting"),
        {"createTask": NO, **NOTHING_MADE},
        "KIE never got it: only an earlier try can have been answered",
    ),
    Rule(
        ("submit: after createTask, no answer yet",),
        {"createTask": tuple(name for name in ANSWERS["createTask"] if name != "no connection")},
        "without a connection nothing is on its way",
    ),
    Rule(("submit: after lifecycle.adopt",), {"createTask": YES}, "only a task's id is adopted"),
    Rule(
        ("submit: after lifecycle.send_back",), {"createTask": NO}, "only a clear no is sent again"
    ),
    Rule(
        ("submit: after lifecycle.pause",),
        {"createTask": ("account blocked",), **NOTHING_MADE},
        "nothing else pauses all ordering, and KIE has no task then",
    ),
    Rule(
        ("submit: after lifecycle.fail",),
        {"createTask": ("refused",), **NOTHING_MADE},
        "only a clear never fails an order there, and KIE then has no task",
    ),
    Rule(
        ("submit: after lifecycle.unclear",),
        {"createTask": (*LOST, "not accepted, unclear")},
        "a clear answer is not unclear",
    ),
    Rule(
        ("poll: *", "hear: *", "store: *", "callback: *", "tick: after lifecycle.put_off"),
        {"createTask": (*YES, *LOST, *NO)},
        "there is a task",
    ),
    Rule(
        ("hear: *", "callback: *"),
        {
            "callback": REPORTED,
            "task": tuple(name for name in ANSWERS["task"] if name != "never ends"),
        },
        "KIE has reported",
    ),
    Rule(
        ("hear: after lifecycle.adopt", "poll: after lifecycle.still_running"),
        {"recordInfo": ("as it is",)},
        "only KIE's own record counts",
    ),
    Rule(
        ("poll: after lifecycle.succeeded", "poll: after the bell for store"),
        {"recordInfo": ("as it is",), "task": PICTURES},
        "only a record with pictures is a success",
    ),
    Rule(
        ("poll: after lifecycle.fail",),
        {"recordInfo": ("as it is",), "task": ("none", "fail"), **NO_PICTURE},
        "only a record without pictures is a failure",
    ),
    Rule(
        ("poll: after lifecycle.give_up",),
        {"recordInfo": ("as it is",), "task": ("never ends",), "callback": (), **NO_PICTURE},
        "only a task that has no end after a day is given up",
    ),
    Rule(("store: *", "tick: after lifecycle.put_off"), {"task": PICTURES}, "there is a picture"),
    Rule(
        ("store: after decoding",),
        {"link": ("fine", "slow", "expired")},
        "something like a picture has arrived",
    ),
    Rule(
        ("store: after lifecycle.renew",),
        {"link": ("fine", "slow", "expired", "not a picture")},
        "bytes have arrived, or are arriving after a picture that did not",
        is_strict=False,
    ),
    Rule(
        ("store: after the * is stored", "store: after lifecycle.keep_stored"),
        {
            "link": ("fine", "slow", "expired"),
            "decoder": ("fine",),
        },
        "a good picture was stored",
    ),
    Rule(
        ("store: after the thumbnail is stored",),
        {"storage": ("fine", "slow", "written, no answer")},
        "it was stored",
    ),
    Rule(
        ("store: after lifecycle.keep_stored",),
        {"storage": ("fine", "slow")},
        "the storage said so",
    ),
    Rule(
        ("store: after lifecycle.fail",),
        {"link": ("fine", "slow", "expired", "not a picture")},
        "something has arrived",
    ),
    Rule(("store: after lifecycle.give_up",), {"link": ("gone",)}, "the last link brought nothing"),
    Rule(
        ("store: after lifecycle.fail", "store: after lifecycle.give_up"),
        {"decoder": ("bad picture", "dies"), "storage": ()},
        "a picture that was good once is seldom gone, or another one, at the next try",
        is_strict=False,
    ),
    Rule(
        (
            "store: after decoding",
            "store: after the * is stored",
            "store: after lifecycle.keep_stored",
            "store: after lifecycle.done",
            "store: after lifecycle.fail",
            "store: after lifecycle.give_up",
        ),
        {"download-url": ("fine",)},
        "trouble there ends the step, and the next one asks again for the same picture",
        is_strict=False,
    ),
    Rule(
        ("store: after lifecycle.put_off",),
        {"link": tuple(name for name in ANSWERS["link"] if name != "not a picture")},
        "the next picture's link has been asked since",
        is_strict=False,
    ),
    Rule(
        ("poll: after lifecycle.give_up", "poll: after lifecycle.still_running"),
        {"createTask": (*YES, *NO)},
        "nobody tells of a task that has not ended, unless staff find it",
        is_strict=False,
    ),
    Rule(
        ("poll: after lifecycle.still_running", "tick: after lifecycle.unclear"),
        {"callback": tuple(name for name in ANSWERS["callback"] if name != "early")},
        "an early one is there before anybody waits",
        is_strict=False,
    ),
    Rule(
        ("take back: *",),
        {"createTask": tuple(name for name in ANSWERS["createTask"] if name != "refused")},
        "it has to come while createTask is on its way",
        is_strict=False,
    ),
    Rule(("store: after download-url",), {"link": ("expired", "gone")}, "a link has expired"),
)


def is_possible(place: Place, asked: str, name: str) -> bool:
    return next(_rule_out(place, asked, name), None) is None


def is_impossible(place: Place, asked: str, name: str) -> bool:
    """Has somebody to explain it if it is met after all?"""
    return any(rule.is_strict for rule in _rule_out(place, asked, name))


def _rule_out(place: Place, asked: str, name: str) -> Iterator[Rule]:
    for rule in RULES:
        if name not in rule.only.get(asked, (name,)) and any(
            fnmatchcase(str(place), pattern) for pattern in rule.places
        ):
            yield rule
