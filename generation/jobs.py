"""What RQ calls: each job takes the row that is next and does one step of its life. None waits.

A job that finds nothing to do returns at once; so it does not matter who rings how often.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import cache, wraps
from time import sleep
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone
from redis.exceptions import RedisError

from credits.amounts import credits_text, dollars_text
from generation import (
    account,
    callbacks,
    doorbell,
    lifecycle,
    prompts,
    records,
    results,
    uploads,
)
from generation.kie.client import (
    AccountBlocked,
    Kie,
    KieError,
    Refused,
    Task,
    TaskUnknown,
    Throttled,
    TryLater,
    Unclear,
)
from generation.kie.limiter import WINDOW_MS, Window, WindowLost
from generation.models import (
    Callback,
    Generation,
    Output,
    Reason,
    Reference,
    State,
    TakenBack,
)
from projects.ids import new_id
from projects.pictures import BadPicture, DecoderDown, PictureGone, StorageDown, Stored

log = logging.getLogger(__name__)

TASK_APPEARS = timedelta(seconds=90)  # after createTask, recordInfo may not know it yet
POLLED_AT_ONCE = 64  # each with a thread, so that a batch ends before its leases do
HEARD_AT_ONCE = 16
MOST_UPLOADS = 20  # tries to hand over what goes along, about an hour and a half
WINDOW = timedelta(milliseconds=WINDOW_MS)
LONGEST_PAUSE = 60.0  # seconds until an order is sent again that KIE does not take for now
ADOPTED_AGAIN = (1, 3, 0)  # seconds after each try


def kie() -> Kie:
    """Our account, with the connections that are kept for it."""
    key = settings.KIE_API_KEY or "sandbox"
    return _kie(settings.KIE_API_URL, settings.KIE_UPLOAD_URL, key)


@cache
def _kie(api_url: str, upload_url: str, key: str) -> Kie:
    return Kie(api_url, upload_url, key)


def creates() -> Window:
    return Window(doorbell.redis(), "creates", settings.KIE_CREATES)


def queries() -> Window:
    return Window(doorbell.redis(), "queries", settings.KIE_QUERIES)


def step(function: Callable[[], None]) -> Callable[[], None]:
    """A step that notices another worker on its row stops there."""

    @wraps(function)
    def run() -> None:
        try:
            function()
        except lifecycle.LeaseLost as lost:
            log.info("[Image] %s: another worker has order %s", function.__name__, lost)

    return run


@step
def submit() -> None:
    """Sends createTask for the order that is next in line, once."""
    generation = lifecycle.claim_next_in_line()
    if generation is None:
        return
    references = uploads.references_of(generation)
    if uploads.stale(references):
        doorbell.ring("submit")  # the one behind it need not wait for the pictures of this one
    addresses = _handed_over(generation, references)
    if addresses is None:
        return
    if not _may_create(generation):
        lifecycle.wait(generation, 0)  # the tick rings again
        return
    doorbell.ring("submit")  # the one behind it need not wait for KIE's answer to this one
    lifecycle.submitting(generation)
    log.info(
        "[KIE] Using model: %s - %s credits ($%s)",
        generation.model.name,
        credits_text(generation.kie_credits),
        dollars_text(generation.cost),
    )
    try:
        _create(generation, prompts.with_addresses(generation.request, addresses))
    finally:
        with suppress(RedisError):
            creates().answered(lifecycle.call_of(generation))


def _handed_over(generation: Generation, references: Sequence[Reference]) -> dict[str, str] | None:
    """KIE's addresses of the pictures that go along; None where the order ends or waits."""
    try:
        return uploads.hand_over(kie(), references, lambda: lifecycle.renew(generation))
    except (Refused, PictureGone, BadPicture) as error:
        lifecycle.fail(generation, Reason.UPLOAD, str(error))
    except AccountBlocked as error:
        lifecycle.pause(generation.provider, error.words)
        lifecycle.send_back(generation, 0, error.words, error.answer)
    except (KieError, StorageDown, DecoderDown) as error:
        _hand_over_later(generation, str(error))
    except lifecycle.LeaseLost:
        raise
    except Exception as error:  # RQ's time-out, or what nobody foresaw: it must not go round
        log.exception("[KIE] What goes along with order %s", generation.pk)
        _hand_over_later(generation, f"{type(error).__name__}: {error}")
    return None


def _hand_over_later(generation: Generation, why: str) -> None:
    if generation.attempts >= MOST_UPLOADS:
        lifecycle.fail(generation, Reason.UPLOAD, why)
    else:
        lifecycle.send_back(generation, min(300, 5 * 2**generation.attempts), why)


def _may_create(generation: Generation) -> bool:
    """Takes a place in the window of creates."""
    call = lifecycle.call_of(generation)
    return _places(creates(), call, 1, lambda: lifecycle.calls_of_the_last(WINDOW)) > 0


def _places(window: Window, caller: str, wanted: int, made: Callable[[], dict[str, float]]) -> int:
    """How many of the wanted places in a window it gets. `made`: what it is told where it has lost
    count. Without Redis nobody knows what went out: none."""
    try:
        try:
            return window.take(caller, wanted)
        except WindowLost:
            window.retell(made())
            return window.take(caller, wanted)
    except (RedisError, WindowLost) as error:
        log.warning("[KIE] How many calls went out is not known: %s", error)
        return 0


def _create(generation: Generation, request: dict[str, Any]) -> None:
    try:
        task_id = kie().create_task(request, callbacks.url_for(generation))
    except TryLater as error:
        if isinstance(error, Throttled):
            _shut(creates())
        lifecycle.send_back(generation, _pause(generation, error), error.words, error.answer)
    except Refused as error:
        log.info("[KIE] Order %s refused: %s", generation.pk, error.words)
        lifecycle.fail(generation, error.why, error.words, error.answer)
    except AccountBlocked as error:
        lifecycle.pause(generation.provider, error.words)
        lifecycle.send_back(generation, 0, error.words, error.answer)
    except Unclear as error:
        log.warning("[KIE] Order %s has no answer: %s", generation.pk, error.words)
        lifecycle.unclear(generation, error.words, error.answer)
    else:
        # Said first: whatever becomes of this worker now, staff can find what KIE bills.
        log.info("[KIE] Task created: %s, polling for completion...", task_id)
        _adopt(generation, task_id)


def _pause(generation: Generation, error: TryLater) -> float:
    """Seconds. What KIE does not take for now must not be in front of everybody's orders each
    time that it may be sent again; of too many calls, the window knows."""
    if isinstance(error, Throttled):
        return error.seconds
    return min(LONGEST_PAUSE, error.seconds * 2.0 ** min(generation.attempts, 5))


def _adopt(generation: Generation, task_id: str) -> None:
    """The row gets its task. A database that restarts just now is waited for: without a public
    address, nobody would ever say again which task it was."""
    for seconds in ADOPTED_AGAIN:
        try:
            lifecycle.adopt(generation, task_id)
            return
        except lifecycle.TaskTaken:
            lifecycle.unclear(generation, f"KIE answered with another order's task, {task_id}")
            return
        except OperationalError as error:
            log.warning("[KIE] Task %s of order %s: %s", task_id, generation.pk, error)
            connection.close()
            sleep(seconds)


def _shut(window: Window) -> None:
    with suppress(RedisError):
        window.shut()


@step
def hear() -> None:
    """Looks into callbacks of tasks that we do not know: are they our orders' tasks?"""
    unheard = Callback.objects.filter(heard_at__isnull=True).order_by("received_at")
    for callback in unheard.select_related("generation")[:HEARD_AT_ONCE]:
        if _looked_into(callback):
            lifecycle.hurry(callback.generation, callback.task_id)
            callbacks.heard(callback)


def _looked_into(callback: Callback) -> bool:
    """Adopts the task where KIE's own record of it has our address. False: ask again later."""
    generation = callback.generation
    if generation.task_id is not None:
        return True
    try:
        task = kie().record_info(callback.task_id)
    except TaskUnknown:  # forged, or told to us before KIE's own records know it
        return timezone.now() - callback.received_at > TASK_APPEARS
    except KieError as error:
        log.warning("[KIE] Callback of order %s: %s", generation.pk, error.words)
        return timezone.now() - callback.received_at > lifecycle.PATIENCE
    if task.callback_url == callbacks.url_for(generation):
        with suppress(lifecycle.TaskTaken):
            lifecycle.adopt(generation, callback.task_id, task.answer)
    return True


@step
def poll() -> None:
    """Asks after many tasks at once."""
    due = lifecycle.tasks_due(POLLED_AT_ONCE)
    batch = lifecycle.claim(due[: queries_allowed(len(due))], State.RUNNING)
    if not batch:
        return
    if len(due) == POLLED_AT_ONCE:
        doorbell.ring("poll")  # there are more
    with ThreadPoolExecutor(len(batch)) as threads:
        answers = list(threads.map(_ask, batch))
    if any(isinstance(answer, Throttled) for answer in answers):
        _shut(queries())
    no_news = []
    for generation, answer in zip(batch, answers, strict=True):
        if news := _news(generation, answer):
            with suppress(lifecycle.LeaseLost):  # its own affair: the others go on
                _follow_or_ask_again(generation, news)
        else:
            no_news.append(generation)
    lifecycle.no_news(no_news)


def queries_allowed(wanted: int) -> int:
    """So many places in the window of recordInfo."""
    return _places(queries(), new_id(), wanted, dict)


def _news(generation: Generation, answer: Task | KieError) -> Task | None:
    """The answer, if it says something new."""
    if not isinstance(answer, KieError):
        is_same = answer.outcome == "running" and answer.word == generation.task_state
        return None if is_same else answer
    if not isinstance(answer, TaskUnknown):  # that one is normal right after createTask
        log.warning("[KIE] Task %s: %s", generation.task_id, answer.words)
    return None


def _ask(generation: Generation) -> Task | KieError:
    """Runs in a thread; touches no database."""
    try:
        return kie().record_info(generation.task_id or "")
    except KieError as error:
        return error


def _follow_or_ask_again(generation: Generation, answer: Task) -> None:
    """An answer that nobody foresaw must not stop the orders behind it."""
    try:
        _follow(generation, answer)
    except lifecycle.LeaseLost:
        raise
    except Exception:
        log.exception("[KIE] Task %s has an answer that cannot be kept", generation.task_id)
        lifecycle.ask_again(generation)


def _follow(generation: Generation, answer: Task) -> None:
    if answer.word != generation.task_state:
        log.info("[KIE] Task %s state: %s", generation.task_id, answer.word)
    if answer.outcome == "success":
        lifecycle.succeeded(generation, answer.urls, answer.used, answer.answer)
    elif answer.outcome == "fail":
        lifecycle.fail(generation, answer.why, answer.words, answer.answer, answer.used)
    else:
        lifecycle.still_running(generation, answer.word, answer.answer)


@step
def store() -> None:
    """Fetches the pictures of the order that has waited longest, stores them, and charges."""
    generation = lifecycle.claim_next_to_store()
    if generation is None:
        return
    doorbell.ring("store")  # the one behind it need not wait for this one
    if generation.taken_back == TakenBack.DISCARD:
        lifecycle.discard(generation)
        return
    stored: dict[int, Stored] = {}
    lost: Exception | None = None
    for output in generation.outputs.all():
        try:
            stored[output.index] = _stored(generation, output)
        except (results.BadResult, results.LinkExpired, Refused) as error:
            log.warning("[Image] Order %s, picture %s: %s", generation.pk, output.index, error)
            lost = error
        except (results.TryLater, KieError) as error:
            log.info("[Image] Order %s, picture %s later: %s", generation.pk, output.index, error)
            died = isinstance(error, results.DecoderDied)
            lifecycle.put_off(generation, str(error), died=died)
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


def _stored(generation: Generation, output: Output) -> Stored:
    """One picture in the storage: from an earlier try, else brought now."""
    if output.stored:
        return Stored(**output.stored)
    stored = _bring(generation, output)
    lifecycle.keep_stored(output, stored)
    return stored


def _bring(generation: Generation, output: Output) -> Stored:
    """Where its link has expired, with a fresh one from KIE."""
    name = f"{generation.pk}-{output.index}"

    def keep_alive() -> None:
        lifecycle.renew(generation)

    try:
        return results.bring(output.url, name, keep_alive)
    except results.LinkExpired:
        return results.bring(kie().fresh_link(output.url), name, keep_alive)


@step
def balance() -> None:
    """Asks what is left on our account."""
    account.ask(kie())


@step
def measure() -> None:
    """Finds out how the models have done."""
    records.find_out()
