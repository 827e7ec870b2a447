"""What RQ calls: each job does one step of an order's life and returns at once. None waits.

A job that finds its row gone, held by another worker or moved on has nothing to do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import wraps

from django.conf import settings
from django.utils import timezone

from credits.amounts import credits_text, dollars_text
from generation import callbacks, doorbell, lifecycle, results
from generation.kie import limiter
from generation.kie.client import (
    AccountBlocked,
    Kie,
    KieError,
    Refused,
    Task,
    TaskUnknown,
    TryLater,
    Unclear,
)
from generation.models import Callback, Generation, Output, Reason, State
from projects.pictures import Stored

log = logging.getLogger(__name__)

TASK_APPEARS = timedelta(seconds=90)  # after createTask, recordInfo may not know it yet
PAUSED_SECONDS = 5  # between two looks at whether ordering goes on
POLLED_AT_ONCE = 16  # each with a thread, so that a batch ends before its leases do
RING_LIMIT = 50


def kie() -> Kie:
    return Kie(settings.KIE_API_URL, settings.KIE_UPLOAD_URL, settings.KIE_API_KEY or "sandbox")


def step(function: Callable[..., None]) -> Callable[..., None]:
    """A step that notices another worker on its row stops there."""

    @wraps(function)
    def run(*ids: str) -> None:
        doorbell.answered(function.__name__, *ids)
        try:
            function(*ids)
        except lifecycle.LeaseLost as lost:
            log.info("[Image] %s: another worker has order %s", function.__name__, lost)

    return run


def tick() -> None:
    """Every second: what time decides, and a bell for everything that is due."""
    lifecycle.sweep()
    lifecycle.ring_due(RING_LIMIT)


@step
def submit(generation_id: str) -> None:
    """Sends createTask, once."""
    generation = lifecycle.claim(generation_id, State.QUEUED)
    if generation is None:
        return
    if lifecycle.is_paused(generation.provider):
        lifecycle.wait(generation, PAUSED_SECONDS)
        return
    seconds = limiter.seconds_to_wait(doorbell.redis(), generation.lease_token)
    if seconds:
        lifecycle.wait(generation, seconds)
        return
    lifecycle.submitting(generation)
    log.info(
        "[KIE] Using model: %s - %s credits ($%s)",
        generation.model.name,
        credits_text(generation.kie_credits),
        dollars_text(generation.cost),
    )
    _create(generation)


def _create(generation: Generation) -> None:
    try:
        task_id = kie().create_task(generation.request, callbacks.url_for(generation))
    except TryLater as error:
        lifecycle.send_back(generation, error.seconds, error.words, error.answer)
    except Refused as error:
        log.info("[KIE] Order %s refused: %s", generation.pk, error.words)
        lifecycle.fail(generation, error.why, error.words, error.answer)
    except AccountBlocked as error:
        lifecycle.pause(generation.provider, error.words)
        lifecycle.send_back(generation, PAUSED_SECONDS, error.words, error.answer)
    except Unclear as error:
        log.warning("[KIE] Order %s has no answer: %s", generation.pk, error.words)
        lifecycle.unclear(generation, error.words, error.answer)
    else:
        try:
            adopted = lifecycle.adopt(generation, task_id)
        except lifecycle.TaskTaken:
            lifecycle.unclear(generation, f"KIE answered with another order's task, {task_id}")
            return
        if adopted:
            log.info("[KIE] Task created: %s, polling for completion...", task_id)


@step
def hear(generation_id: str) -> None:
    """Looks into what callbacks said of an order: adopts its task, or asks after it at once."""
    for callback in Callback.objects.filter(generation=generation_id, heard_at__isnull=True):
        generation = callback.generation
        if generation.task_id is None:
            try:
                task = kie().record_info(callback.task_id)
            except TaskUnknown:  # forged, or told to us before KIE's own records know it
                if timezone.now() - callback.received_at < TASK_APPEARS:
                    continue
                task = None
            except KieError as error:
                log.warning("[KIE] Callback of order %s: %s", generation.pk, error.words)
                if timezone.now() - callback.received_at < lifecycle.PATIENCE:
                    continue  # the tick rings again
                task = None
            # Only KIE's own record of our address says that the task is this order's.
            if task and task.callback_url == callbacks.url_for(generation):
                lifecycle.adopt(generation, callback.task_id, task.answer)
        lifecycle.hurry(generation, callback.task_id)
        Callback.objects.filter(pk=callback.pk).update(heard_at=timezone.now())


@step
def poll() -> None:
    """Asks after many tasks at once, and again while there are more."""
    while batch := lifecycle.claim_running(POLLED_AT_ONCE):
        with ThreadPoolExecutor(POLLED_AT_ONCE) as threads:
            answers = list(threads.map(_ask, batch))
        for generation, answer in zip(batch, answers, strict=True):
            with suppress(lifecycle.LeaseLost):  # its own affair: the others go on
                _follow_or_ask_again(generation, answer)


def _ask(generation: Generation) -> Task | KieError:
    """Runs in a thread; touches no database."""
    try:
        return kie().record_info(generation.task_id or "")
    except KieError as error:
        return error


def _follow_or_ask_again(generation: Generation, answer: Task | KieError) -> None:
    """An answer that nobody foresaw must not stop the orders behind it."""
    try:
        _follow(generation, answer)
    except lifecycle.LeaseLost:
        raise
    except Exception:
        log.exception("[KIE] Task %s has an answer that cannot be kept", generation.task_id)
        lifecycle.ask_again(generation)


def _follow(generation: Generation, answer: Task | KieError) -> None:
    if isinstance(answer, KieError):
        if not isinstance(answer, TaskUnknown):  # that one is normal right after createTask
            log.warning("[KIE] Task %s: %s", generation.task_id, answer.words)
        lifecycle.ask_again(generation)
        return
    if answer.word != generation.task_state:
        log.info("[KIE] Task %s state: %s", generation.task_id, answer.word)
    if answer.outcome == "success":
        lifecycle.succeeded(generation, answer.urls, answer.used, answer.answer)
    elif answer.outcome == "fail":
        lifecycle.fail(generation, answer.why, answer.words, answer.answer)
    else:
        lifecycle.still_running(generation, answer.word, answer.answer)


@step
def store(generation_id: str) -> None:
    """Fetches the pictures, stores them, and charges."""
    generation = lifecycle.claim(generation_id, State.STORING)
    if generation is None:
        return
    stored: dict[int, Stored] = {}
    lost: Exception | None = None
    for output in generation.outputs.all():
        try:
            stored[output.index] = _bring(generation, output)
        except (results.BadResult, results.LinkExpired, Refused) as error:
            log.warning("[Image] Order %s, picture %s: %s", generation.pk, output.index, error)
            lost = error
        except (results.TryLater, KieError) as error:
            log.info("[Image] Order %s, picture %s later: %s", generation.pk, output.index, error)
            lifecycle.put_off(generation, str(error))
            return
        except lifecycle.LeaseLost:
            raise
        except Exception as error:  # RQ's time-out, or what nobody foresaw: it must not go round
            log.exception("[Image] Order %s, picture %s", generation.pk, output.index)
            lifecycle.put_off(generation, f"{type(error).__name__}: {error}")
            return
    if stored:
        lifecycle.done(generation, stored)
    elif isinstance(lost, results.BadResult):
        lifecycle.fail(generation, Reason.PICTURE, str(lost))
    else:
        lifecycle.give_up(generation, Reason.EXPIRED, str(lost))


def _bring(generation: Generation, output: Output) -> Stored:
    """One picture into storage; where its link has expired, with a fresh one from KIE."""
    name = f"{generation.pk}-{output.index}"

    def keep_alive() -> None:
        lifecycle.renew(generation)

    try:
        return results.bring(output.url, name, keep_alive)
    except results.LinkExpired:
        return results.bring(kie().fresh_link(output.url), name, keep_alive)
