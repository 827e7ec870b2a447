"""Tells open pages what has changed. The rows are the truth; what is told may get lost.

Whatever is shown is told by the name of what shows it: "scene-…" and "character-…" (a card and the
page), "scenes" (which there are, and how many of each kind), "orders" (somebody's own), "credits"
(and how many orders are open), "asks", "site" (what holds orders up), and EVERYTHING. Behind LATER
it is news that may wait for a second, so that several are asked for at once. An open page listens
for an audience (imagegen/streams.py) and fetches those of its parts anew that say `data-live` with
such a name (static/js/live.js). While Redis is away nobody is told anything, and pages ask by
themselves.

What people change in a project is told by slate.touch: everything, and pages compare.
"""

from __future__ import annotations

import json
import logging
from functools import cache, partial
from time import monotonic
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from redis import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from projects.models import Character, Scene

log = logging.getLogger(__name__)

CHANNEL = "live"
EVERYBODY = "everybody"
EVERYTHING = "*"
LATER = "~"
GONE = "gone"  # no name of a part: the streams of this audience end, and are asked for again
PATIENCE = 1  # seconds; who writes must not wait long for a Redis that hangs
HANGS_FOR = 3  # seconds; not tried meanwhile, or who tells many things would wait for each

_silent_until = 0.0  # while Redis hangs, as this process has found


def of_project(project_id: str) -> str:
    """The audience of all who have a page of this project open."""
    return f"project-{project_id}"


def of_user(user_id: int) -> str:
    return f"user-{user_id}"


def removed(user: User) -> None:
    """Of a project: what they may hear is decided anew."""
    tell(of_user(user.pk), GONE)


def name_of(subject: Scene | Character) -> str:
    return f"{subject._meta.model_name}-{subject.pk}"


def tell(audience: str, *names: str) -> None:
    """Tells an audience as soon as the transaction is committed."""
    transaction.on_commit(partial(_tell, audience, names))


def _tell(audience: str, names: tuple[str, ...]) -> None:
    global _silent_until
    if monotonic() < _silent_until:
        return
    try:
        redis().publish(CHANNEL, json.dumps([audience, *names]))
    except RedisError as error:  # open pages look by themselves when they can hear again
        log.warning("[Live] Nobody is told of %s: %s", names, error)
        if isinstance(error, NoAnswer):
            _silent_until = monotonic() + HANGS_FOR


@cache
def redis() -> Redis:
    return Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE
    )
