"""What goes wrong at KIE during the chaos: exact shares of all orders, in an order that is drawn.

By chance alone, a small run might meet no lost answer at all, and prove nothing about them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

Shares = Mapping[str, float]  # fault of the sandbox: its share of all orders

REFUSALS: Shares = {  # 4 %: createTask makes no task
    "create_422": 0.0125,
    "create_455": 0.0125,
    "create_500": 0.007,
    "create_502": 0.007,
    "create_429": 0.001,  # seldom: after each one, nobody sends anything for ten seconds
}
REPEATED = {"create_429", "create_455"}  # the same order is sent again
LOST: Shares = {  # 8 %: the task is made, the answer does not come
    "create_lost": 0.045,
    "create_502_made": 0.03,
    "create_slow": 0.005,
}
RENDERS: Shares = {  # 8 % fail
    "internal_error": 0.03,
    "moderation": 0.02,
    "record_501": 0.02,
    "empty": 0.01,
}
DOWNLOADS: Shares = {  # 10 % go wrong, some for good
    "result_503_once": 0.03,
    "result_cut_once": 0.025,
    "result_expired": 0.02,
    "result_404": 0.01,
    "result_junk": 0.01,
    "result_html": 0.005,
}
CALLBACKS: Shares = {
    "callback_lost": 0.1,
    "callback_twice": 0.1,
    "callback_early": 0.03,
    "callback_late": 0.03,
}
ASKING: Shares = {"record_502": 0.015, "record_lost": 0.015}  # of the questions to recordInfo
OF_ONE_QUESTION = ["record_429"]  # as after create_429, nobody asks anything for ten seconds


def of_creates(generations: int, rng: random.Random) -> list[list[str]]:
    """The faults of each createTask call, one after the other; the shares of a run of so many
    orders, each fault at least once."""
    refused = [[name] for name in _times(REFUSALS, generations)]
    final = sum(names[0] not in REPEATED for names in refused)
    tasks: list[list[str]] = [[] for _ in range(generations - final)]
    for shares in (LOST, RENDERS, DOWNLOADS, CALLBACKS, {"hidden": 0.03}):
        names = list(_times(shares, generations))
        for task, name in zip(rng.sample(tasks, len(names)), names, strict=True):
            task.append(name)
    for name in LOST:  # one of each of which nobody ever hears
        task = next(task for task in tasks if name in task)
        task[:] = [fault for fault in task if fault not in CALLBACKS] + ["callback_lost"]
    everything = refused + tasks
    rng.shuffle(everything)
    return everything


def _times(shares: Shares, generations: int) -> Iterator[str]:
    for name, share in shares.items():
        yield from [name] * max(1, round(share * generations))
