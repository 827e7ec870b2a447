"""Is everything there that an order needs outside the database: KIE, the storage, the workers?

Asking costs somebody's time, so one asks for everybody and the answer holds for half a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import django_rq
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from redis.exceptions import RedisError
from rq import Worker
from rq.worker import WorkerStatus

from generation import doorbell, jobs
from generation.kie.client import AccountBlocked, KieError, Unclear
from projects.ids import new_id

log = logging.getLogger(__name__)

HOLDS_SECONDS = 30
ASKING_SECONDS = 20  # longer than the longest question
QUEUES = ("orders", "pictures")
# An idle worker of the Procfile is heard of every 15 s; a busy one not before its job ends.
SILENCE = timedelta(seconds=60)


@dataclass(frozen=True)
class Finding:
    """What was found. `ok` None: nobody knows. `code` is a word for programs, `detail` for staff.

    For KIE, `credits` is what is left on the account, in hundredths.
    """

    ok: bool | None
    code: str = ""
    detail: str = ""
    credits: int | None = None


BEING_ASKED = Finding(None, "being_asked")


def provider() -> Finding:
    """Does KIE answer, and take our key? Codes: silent, blocked, unclear, being_asked."""
    return _shared("kie", _ask_kie)


def storage() -> Finding:
    """Can pictures be kept: a small object written, read back and deleted? Code: broken."""
    return _shared("storage", _try_storage)


def workers() -> Finding:
    """Does somebody work on every queue, and is there a clock? Codes: queue_down, missing.

    `detail` names what is missing: "tick", "orders", "pictures".
    """
    try:
        missing = [] if doorbell.is_ticking() else ["tick"]
        missing += [name for name in QUEUES if not _is_worked_on(name)]
    except RedisError as error:
        return Finding(False, "queue_down", str(error))
    return Finding(False, "missing", ", ".join(missing)) if missing else Finding(True)


def _ask_kie() -> Finding:
    try:
        return Finding(True, credits=jobs.kie().credit())
    except AccountBlocked as error:
        return Finding(False, "blocked", error.words)
    except Unclear as error:
        return Finding(None, "unclear", error.words)
    except KieError as error:
        return Finding(False, "silent", error.words)


def _try_storage() -> Finding:
    content = new_id().encode()
    try:
        name = default_storage.save(f"checkup/{content.decode()}", ContentFile(content))
        try:
            with default_storage.open(name) as file:
                came_back = file.read()
        finally:
            default_storage.delete(name)
    except (OSError, Boto3Error, BotoCoreError, ClientError) as error:
        return Finding(False, "broken", f"{type(error).__name__}: {error}")
    if came_back != content:
        return Finding(False, "broken", "what was written did not come back")
    return Finding(True)


def _is_worked_on(queue: str) -> bool:
    workers = Worker.all(queue=django_rq.get_queue(queue))
    latest = timezone.now() - SILENCE
    return any(
        worker.get_state() == WorkerStatus.BUSY
        or (worker.last_heartbeat is not None and worker.last_heartbeat > latest)
        for worker in workers
    )


def _shared(name: str, ask: Callable[[], Finding]) -> Finding:
    """The answer of the last half minute, else a new one; while somebody asks, "being asked"."""
    key, asking = f"checkup:{name}", f"checkup:{name}:asking"
    known: Finding | None = cache.get(key)
    if known is not None:
        return known
    if not cache.add(asking, 1, ASKING_SECONDS):
        return BEING_ASKED
    finding = ask()
    if not finding.ok:
        log.warning("[Checkup] %s: %s %s", name, finding.code, finding.detail)
    cache.set(key, finding, HOLDS_SECONDS)
    cache.delete(asking)
    return finding
