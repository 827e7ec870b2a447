"""Tells the workers that rows want their next step. The rows are the truth; a bell may get lost.

A bell says only which step is wanted: the worker who hears it takes the row that is next and rings
for the one after it. While one still waits in its queue it is not rung again, so that the tick does
not fill the queues while the workers are busy or gone.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cache, partial

import django_rq
from django.db import transaction
from redis import Redis
from redis.exceptions import RedisError

from projects.ids import new_id

log = logging.getLogger(__name__)

TICK_SECONDS = 30  # without a sign of the tick, it is missed
QUEUES = {
    "submit": "orders",
    "hear": "orders",
    "poll": "orders",
    "balance": "orders",
    "store": "pictures",
    "measure": "pictures",
}


@cache
def redis() -> Redis:
    """The queue's, kept: to connect costs fifteen times what is then asked."""
    return django_rq.get_connection("orders")


def ring(step: str) -> None:
    """Asks for one step (a name in QUEUES) as soon as the transaction is committed."""
    transaction.on_commit(partial(_ring, step))


def ticked() -> None:
    """The tick is alive."""
    with suppress(RedisError):
        redis().set("tick", 1, ex=TICK_SECONDS)


def is_ticking() -> bool:
    """Has the tick been heard of lately? Raises RedisError."""
    return bool(redis().exists("tick"))


def _ring(step: str) -> None:
    queue = django_rq.get_queue(QUEUES[step], connection=redis(), commit_mode="auto")
    name = f"{step}-"
    try:
        if not any(bell.startswith(name) for bell in queue.get_job_ids()):
            queue.enqueue(f"generation.jobs.{step}", job_id=name + new_id())
    except RedisError as error:  # the order stands; the tick rings when Redis is back
        log.warning("[Queue] No bell for %s: %s", step, error)
