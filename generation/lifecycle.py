"""The life of an order. The only code that writes Generation.state.

    queued ─► submitting ─► running ─► storing ─► done
       │          │  └► unknown ─┘ │       │
       └──────────┴────► failed / cancelled / review

A worker claims a row for one step with a lease; every write that follows is compare-and-set on the
state and the lease, so a worker that lost its lease writes nothing. No call to the outside happens
in here: a step claims, talks, and comes back with what it learnt.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from credits import ledger
from generation import doorbell
from generation.models import Callback, Event, Generation, Output, Pause, Reason, State
from projects.ids import new_id
from projects.models import Take
from projects.pictures import Stored

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=20)  # longer than the longest call to KIE (kie/client.py)
WORD_AFTER = timedelta(minutes=30)  # without a sign of a task that may have been accepted
PATIENCE = timedelta(hours=24)  # with a task that KIE knows, and with a result's link
POLL_STEPS = (  # (age of the task, seconds between two questions)
    (timedelta(minutes=1), 2),
    (timedelta(minutes=10), 5),
    (timedelta(hours=1), 30),
)
POLL_SLOWEST = 300


class TaskTaken(Exception):
    """Another order has this task of KIE's."""


class LeaseLost(Exception):
    """Another worker has the row, or it has moved on: this worker stops."""


def place(generation: Generation) -> Generation:
    """Writes the order and its hold in one transaction; the first of two with one key wins.

    Raises credits.ledger.InsufficientCredits.
    """
    try:
        with transaction.atomic():
            generation.save(force_insert=True)
            if generation.payer and generation.price:
                ledger.hold(
                    ledger.ledger_of(generation.payer),
                    generation.price,
                    reference=generation.hold_reference,
                    about=about(generation),
                )
            _note(generation, State.QUEUED, "Ordered")
            doorbell.ring("submit", generation.pk)
    except IntegrityError:
        first = Generation.objects.filter(
            ordered_by=generation.ordered_by, order_key=generation.order_key
        ).first()
        if first is None:
            raise
        return first
    return generation


def cancel(generation: Generation) -> bool:
    """Takes back an order that has not been sent. False if it has been, or is being sent now."""
    now = timezone.now()
    with transaction.atomic():
        free = Generation.objects.filter(pk=generation.pk, state=State.QUEUED).exclude(
            lease_until__gt=now
        )
        if not free.update(
            state=State.CANCELLED, reason=Reason.CANCELLED, finished_at=now, lease_token=""
        ):
            return False
        _note(generation, State.CANCELLED, "Cancelled before it was sent")
        _release(generation, Reason.CANCELLED)
    return True


# Claiming


def claim(generation_id: str, state: State) -> Generation | None:
    """Takes the row for one step, if it is in this state, due, and nobody holds it."""
    return next(iter(_claim(Generation.objects.filter(pk=generation_id), state)), None)


def claim_running(limit: int) -> list[Generation]:
    """Takes up to `limit` orders whose task is to be asked after."""
    due = Generation.objects.filter(state=State.RUNNING).due(timezone.now())
    ids = list(due.order_by("next_at").values_list("pk", flat=True)[:limit])
    return _claim(Generation.objects.filter(pk__in=ids), State.RUNNING)


def _claim(rows: Any, state: State) -> list[Generation]:
    now = timezone.now()
    token = new_id()
    taken = rows.filter(state=state).due(now).update(lease_token=token, lease_until=now + LEASE)
    if not taken:
        return []
    return list(rows.model.objects.filter(lease_token=token).select_related("model", "payer"))


def renew(generation: Generation) -> None:
    """A long step is still alive. Raises LeaseLost."""
    if not _mine(generation).update(lease_until=timezone.now() + LEASE):
        raise LeaseLost(generation.pk)


# Ordering


def submitting(generation: Generation) -> None:
    """Committed before createTask is called: from here on it may have been sent."""
    _move(
        generation,
        State.SUBMITTING,
        "Sending createTask",
        keep_lease=True,
        submitted_at=timezone.now(),
        next_at=timezone.now(),
    )


def send_back(generation: Generation, seconds: float, why: str, answer: Any = None) -> None:
    """Nothing was taken: the order goes back in line."""
    _move(
        generation,
        State.QUEUED,
        why,
        answer,
        next_at=_in(seconds),
        submitted_at=None,
        attempts=F("attempts") + 1,
    )


def wait(generation: Generation, seconds: float) -> None:
    """The same step again later; nothing happened that anybody needs to read about."""
    if not _mine(generation).update(next_at=_in(seconds), lease_until=None, lease_token=""):
        raise LeaseLost(generation.pk)


def unclear(generation: Generation, why: str, answer: Any = None) -> None:
    """createTask may or may not have arrived. It is never sent again; a callback may tell."""
    _move(generation, State.UNKNOWN, why, answer, next_at=timezone.now() + WORD_AFTER)


def adopt(generation: Generation, task_id: str, answer: Any = None) -> bool:
    """KIE has the order under this id: told by createTask's answer, or later by a callback.

    Needs no lease: whoever learns it first writes it, even after the order was given up, and a
    picture whose hold has been released comes free of charge. False if it was known already.
    """
    without_task = Generation.objects.filter(pk=generation.pk, task_id__isnull=True)
    try:
        with transaction.atomic():
            return _run_again(without_task, generation, f"KIE has it as {task_id}", answer, task_id)
    except IntegrityError as error:
        raise TaskTaken(task_id) from error


def _run_again(
    rows: Any, generation: Generation, message: str, answer: Any, task_id: str | None
) -> bool:
    """An order whose task turned up is followed from wherever it stood, even given up."""
    moved = rows.update(
        state=State.RUNNING,
        task_id=task_id,
        reason="",
        finished_at=None,
        attempts=0,
        next_at=_in(POLL_STEPS[0][1]),
        lease_until=None,
        lease_token="",
    )
    if moved:
        _note(generation, State.RUNNING, message, answer)
    return bool(moved)


def hurry(generation: Generation, task_id: str) -> None:
    """KIE hints that the task has ended: it is asked after now instead of at its time.

    So is one that we gave up on after a day; what it brings then is free.
    """
    rows = Generation.objects.filter(pk=generation.pk, task_id=task_id)
    lost = rows.filter(state=State.REVIEW, reason=Reason.LOST)
    with transaction.atomic():
        _run_again(lost, generation, "KIE reports after all", None, task_id)
    rows.filter(state=State.RUNNING).update(next_at=timezone.now())
    doorbell.ring("poll")


def pause(provider: str, why: str) -> None:
    """Stops all ordering from a provider until staff take the pause away."""
    _row, new = Pause.objects.get_or_create(provider=provider, defaults={"why": why})
    if new:
        log.error("[Image] Ordering from %s is paused: %s", provider, why)


def is_paused(provider: str) -> bool:
    return Pause.objects.filter(provider=provider).exists()


# Following


def still_running(generation: Generation, word: str, answer: Any = None) -> None:
    """KIE is at work on it. `word` is KIE's own state, shown and logged when it changes."""
    if word and word != generation.task_state:
        _move(
            generation,
            State.RUNNING,
            f"KIE: {word}",
            answer,
            task_state=word,
            next_at=_poll_at(generation),
        )
    else:
        ask_again(generation)


def ask_again(generation: Generation) -> None:
    """No news of the task. After a day without an end, staff look at it."""
    if timezone.now() - _sent_at(generation) > PATIENCE:
        give_up(generation, Reason.LOST, "No end of the task within a day")
    else:
        wait(generation, (_poll_at(generation) - timezone.now()).total_seconds())


def succeeded(generation: Generation, urls: Sequence[str], used: int | None, answer: Any) -> None:
    """KIE has the pictures; they are still to be fetched."""
    with transaction.atomic():
        _move(
            generation,
            State.STORING,
            "KIE: success",
            answer,
            task_state="success",
            kie_credits_used=used,
            attempts=0,
            next_at=timezone.now(),
        )
        Output.objects.bulk_create(
            [Output(generation=generation, index=i, url=url) for i, url in enumerate(urls)]
        )
        doorbell.ring("store", generation.pk)


def put_off(generation: Generation, why: str) -> None:
    """The pictures could not be fetched or stored now: again later, for a day."""
    if timezone.now() - _sent_at(generation) > PATIENCE:
        give_up(generation, Reason.EXPIRED, why)
        return
    seconds = min(300, 2 ** min(generation.attempts, 8))
    _move(generation, State.STORING, why, next_at=_in(seconds), attempts=F("attempts") + 1)


def done(generation: Generation, pictures: Mapping[int, Stored]) -> list[Take]:
    """The pictures are safe: takes, charge and state in one transaction.

    `pictures` are the stored ones by the index of their output, at least one. The charge falls
    away where the hold has been released before: a late picture is free.
    """
    now = timezone.now()
    with transaction.atomic():
        _move(generation, State.DONE, "Stored", finished_at=now, reason="")
        takes = [_keep(generation, index, stored) for index, stored in sorted(pictures.items())]
        if ledger.hold_is_open(generation.hold_reference):
            ledger.capture(
                generation.hold_reference,
                generation.price,
                reference=f"generation:{generation.pk}:capture",
                about=about(generation, real_cost=generation.cost),
            )
    return takes


def _keep(generation: Generation, index: int, stored: Stored) -> Take:
    output = Output.objects.get(generation=generation, index=index)
    output.take = Take.objects.create(
        project_id=generation.project_id,
        scene_id=generation.scene_id,
        character_id=generation.character_id,
        made_by_id=generation.ordered_by_id,
        source_url=output.url,
        **asdict(stored),
    )
    output.save(update_fields=["take"])
    return output.take


# Endings without a picture


def fail(generation: Generation, why: str, words: str, answer: Any = None) -> None:
    """It will not come: the hold goes back. `why` is a Reason, `words` the provider's."""
    _end(generation, State.FAILED, Reason(why), words, answer)


def give_up(generation: Generation, why: Reason, words: str) -> None:
    """Nobody knows: the hold goes back, and the order stands on the staff's list."""
    _end(generation, State.REVIEW, why, words)


def _end(generation: Generation, state: State, why: Reason, words: str, answer: Any = None) -> None:
    with transaction.atomic():
        _move(
            generation,
            state,
            words or why.value,
            answer,
            reason=why,
            detail=words[:500],
            finished_at=timezone.now(),
        )
        _release(generation, why)


# The tick


def sweep() -> None:
    """What time alone decides: a worker died while it was sending; nobody ever told."""
    now = timezone.now()
    for state in (State.SUBMITTING, State.UNKNOWN):
        for generation in Generation.objects.filter(state=state).due(now):
            claimed = claim(generation.pk, state)
            try:
                if claimed and state == State.SUBMITTING:
                    unclear(claimed, "The worker died while it was sending")
                elif claimed:
                    give_up(claimed, Reason.LOST, "No sign of the task for 30 minutes")
            except LeaseLost:
                continue  # it was adopted just now


def ring_due(limit: int) -> None:
    """Rings for what is due: the oldest orders, the tasks to ask after, the pictures to fetch."""
    due = Generation.objects.due(timezone.now())
    for state, step in ((State.QUEUED, "submit"), (State.STORING, "store")):
        oldest = due.filter(state=state).order_by("created_at").values_list("pk", flat=True)
        for generation_id in oldest[:limit]:
            doorbell.ring(step, generation_id)
    if due.filter(state=State.RUNNING).exists():
        doorbell.ring("poll")
    unheard = Callback.objects.filter(heard_at__isnull=True).order_by("received_at")
    for generation_id in unheard.values_list("generation_id", flat=True)[:limit]:
        doorbell.ring("hear", generation_id)


# What an order's money is about


def about(generation: Generation, *, why: str = "", real_cost: int = 0) -> ledger.About:
    """The words of the user's document for a hold, a charge or a release."""
    model = generation.model
    resolution = f" ({generation.resolution})" if generation.resolution else ""
    metadata = {"model": model.model_id, "kieCredits": generation.kie_credits_number}
    return ledger.About(
        type="image",
        description=f"KIE AI {model.name} generation{resolution}",
        project=generation.project_id or "",
        provider=generation.provider,
        metadata=metadata | ({"reason": why} if why else {}),
        real_cost=real_cost,
    )


def _release(generation: Generation, why: Reason) -> None:
    if ledger.hold_is_open(generation.hold_reference):
        ledger.release(
            generation.hold_reference,
            reference=f"generation:{generation.pk}:release",
            about=about(generation, why=why),
        )


# Writing


def _mine(generation: Generation) -> Any:
    return Generation.objects.filter(
        pk=generation.pk, state=generation.state, lease_token=generation.lease_token
    )


def _move(
    generation: Generation,
    state: State,
    message: str,
    answer: Any = None,
    *,
    keep_lease: bool = False,
    **fields: Any,
) -> None:
    """Compare-and-set to `state`, with its line in the trail. Raises LeaseLost."""
    if keep_lease:
        fields["lease_until"] = timezone.now() + LEASE
    else:
        fields |= {"lease_until": None, "lease_token": ""}
    with transaction.atomic():
        if not _mine(generation).update(state=state, **fields):
            raise LeaseLost(generation.pk)
        _note(generation, state, message, answer)
    generation.state = state


def _note(generation: Generation, state: State, message: str, answer: Any = None) -> None:
    Event.objects.create(generation=generation, state=state, message=message[:500], answer=answer)


def _in(seconds: float) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


def _sent_at(generation: Generation) -> datetime:
    return generation.submitted_at or generation.created_at


def _poll_at(generation: Generation) -> datetime:
    age = timezone.now() - _sent_at(generation)
    return _in(next((seconds for until, seconds in POLL_STEPS if age < until), POLL_SLOWEST))
