"""Tells the workers that rows want their next step. The rows are the truth; a bell may get lost.

A bell says only which step is wanted: the worker who hears it takes the row that is next and rings
for the one after it. One that has not been answered is not rung again for three seconds, so that
the tick does not fill the queues while the workers are busy or gone.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

import django_rq
from django.db import transaction
from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

UNANSWERED_SECONDS = 3
TICK_SECONDS = 30  # without a sign of the tick, it is missed
QUEUES = {
    "submit": "orders",
    "hear": "orders",
    "poll": "orders",
    "balance": "orders",
    "store": "pictures",
    "measure": "pictures",
}


def redis() -> Redis:
    return django_rq.get_connection("orders")


def ring(step: str) -> None:
    """Asks for one step (a name in QUEUES) as soon as the transaction is committed."""
    transaction.on_commit(partial(_ring, step))


def answered(step: str) -> None:
    """The step has begun: the next bell for it may ring at once."""
    try:
        redis().delete(_key(step))
    except RedisError as error:  # it falls silent by itself
        log.warning("[Queue] %s: %s", step, error)


def ticked() -> None:
    """The tick is alive."""
    with suppress(RedisError):
        redis().set("tick", 1, ex=TICK_SECONDS)


def is_ticking() -> bool:
    """Has the tick been heard of lately? Raises RedisError."""
    return bool(redis().exists("tick"))


def _ring(step: str) -> None:
    try:
        if redis().set(_key(step), 1, nx=True, ex=UNANSWERED_SECONDS):
            queue = django_rq.get_queue(QUEUES[step], commit_mode="auto")
            queue.enqueue(f"generation.jobs.{step}")
    except RedisError as error:  # the order stands; the tick rings when Redis is back
        log.warning("[Queue] No bell for %s: %s", step, error)


def _key(step: str) -> str:
    return f"bell:{step}"
