"""Tells a worker that a row wants its next step. The row is the truth; a bell may get lost.

A bell that has not been answered is not rung again for ten seconds, so that the tick does not fill
the queues while the workers are busy.
"""

from __future__ import annotations

import logging
from functools import partial

import django_rq
from django.db import transaction
from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

UNANSWERED_SECONDS = 10
QUEUES = {"submit": "orders", "hear": "orders", "poll": "orders", "store": "pictures"}


def redis() -> Redis:
    return django_rq.get_connection("tick")


def ring(step: str, generation_id: str = "") -> None:
    """Asks for one step (a name in QUEUES) as soon as the transaction is committed."""
    transaction.on_commit(partial(_ring, step, generation_id))


def answered(step: str, generation_id: str = "") -> None:
    """The step has begun: the next bell for it may ring at once."""
    redis().delete(_key(step, generation_id))


def _ring(step: str, generation_id: str) -> None:
    try:
        if redis().set(_key(step, generation_id), 1, nx=True, ex=UNANSWERED_SECONDS):
            queue = django_rq.get_queue(QUEUES[step], commit_mode="auto")
            queue.enqueue(f"generation.jobs.{step}", *([generation_id] if generation_id else []))
    except RedisError as error:  # the order stands; the tick rings when Redis is back
        log.warning("[Queue] No bell for %s %s: %s", step, generation_id, error)


def _key(step: str, generation_id: str) -> str:
    return f"bell:{step}:{generation_id}"
