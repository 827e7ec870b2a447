"""The life of an order. The only code that writes Generation.state.

    queued ─► submitting ─► running ─► storing ─► done
       │          │  └► unknown ─┘ │       │
       └──────────┴────► failed / cancelled / review

A worker claims a row for one step with a lease; every write that follows is compare-and-set on the
state and the lease, so a worker that lost its lease writes nothing. A lease that has run out is
noticed by the sweep alone. No call to the outside happens in here: a step claims, talks, and comes
back with what it learnt.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from credits import ledger
from generation import allowance, breaker, doorbell, line
from generation.models import (
    MOST_DEATHS,
    SENT_STATES,
    Callback,
    Event,
    Generation,
    GenerationQuerySet,
    Operation,
    Output,
    Pause,
    Reason,
    Reference,
    State,
    TakenBack,
)
from projects import live
from projects.ids import new_id
from projects.models import Take
from projects.words import showing

if TYPE_CHECKING:
    from projects.pictures import Stored

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=20)  # longer than the longest call to KIE (kie/client.py)
WORD_AFTER = timedelta(minutes=30)  # without a sign of a task that may have been accepted
PATIENCE = timedelta(hours=24)  # with a task that KIE knows, and with a result's link
POLL_STEPS = (  # (age of the task, seconds between two questions)
    (timedelta(minutes=10), 2.5),
    (timedelta(hours=1), 30),
)
# Where KIE calls back: what it is doing is news in the first minute, then only lost callbacks are.
POLL_STEPS_CALLED_BACK = (
    (timedelta(minutes=1), 2.5),
    (timedelta(minutes=10), 15),
    (timedelta(hours=1), 180),
)
POLL_SLOWEST = 300
SET_ASIDE = 600  # seconds between two tries of a picture that workers die over


class TaskTaken(Exception):
    """Another order has this task of KIE's."""


class LeaseLost(Exception):
    """Another worker has the row, or it has moved on: this worker stops."""


def place(
    generations: Sequence[Generation],
    references: Sequence[Reference] = (),
    *,
    approved: bool = False,
) -> None:
    """Writes orders of one person, for one payer, with what goes along and their holds: all of
    them, or none.

    `approved`: by who pays, whatever is left of the allowance of who orders. Raises
    credits.ledger.InsufficientCredits and allowance.AllowanceExceeded about all of them, and
    IntegrityError where the key of one has been used.
    """
    first = generations[0]
    with transaction.atomic():
        Generation.objects.bulk_create(generations)
        Reference.objects.bulk_create(references)
        if not approved:
            allowance.take(first, sum(generation.price for generation in generations))
        holds = [(g.price, g.hold_reference, about(g)) for g in generations if g.price]
        if first.payer and holds:
            ledger.hold(ledger.ledger_of(first.payer), holds)
        for generation in generations:
            _note(generation, State.QUEUED, "Ordered")
        doorbell.ring("submit")


def cancel(generation: Generation) -> bool:
    """Takes back an order that has not been sent. False if it has been, or is being sent now."""
    now = timezone.now()
    with transaction.atomic():
        free = Generation.objects.filter(
            pk=generation.pk, state=State.QUEUED, lease_until__isnull=True
        )
        if not free.update(state=State.CANCELLED, reason=Reason.CANCELLED, finished_at=now):
            return False
        _note(generation, State.CANCELLED, "Cancelled before it was sent")
        _release(generation, Reason.CANCELLED)
    return True


def take_back(generation: Generation, then: TakenBack) -> bool:
    """Gives the credits back for an order that KIE has, or may have. It cannot be stopped there:
    it is followed on, and what still comes is free, or thrown away. False if it has ended."""
    sent = _row(generation).filter(state__in=SENT_STATES, taken_back="")
    with transaction.atomic():
        if not sent.update(taken_back=then):
            return False
        state = Generation.objects.values_list("state", flat=True).get(pk=generation.pk)
        _note(generation, State(state), f"Credits taken back; a picture that comes: {then}")
        _release(generation, Reason.CANCELLED)
    return True


# Claiming


def claim_next_in_line() -> Generation | None:
    """Takes the order whose turn it is to be sent (generation/line.py)."""
    while turn := line.next_in_line():
        if claimed := claim([turn.pk], State.QUEUED):
            return claimed[0]
    return None


def claim_next_to_store() -> Generation | None:
    """Takes the order that has waited longest for its pictures to be fetched."""
    due = Generation.objects.filter(state=State.STORING).due(timezone.now()).order_by("next_at")
    while oldest := due.values_list("pk", flat=True).first():
        if claimed := claim([oldest], State.STORING):
            return claimed[0]
    return None


def tasks_due(limit: int) -> list[str]:
    """Ids of up to `limit` orders whose task is to be asked after, the most urgent first."""
    due = Generation.objects.filter(state=State.RUNNING).due(timezone.now())
    return list(due.order_by("next_at").values_list("pk", flat=True)[:limit])


def claim(ids: Sequence[str], state: State) -> list[Generation]:
    """Takes those of these rows that are in this state, due, and nobody's; for one step."""
    now = timezone.now()
    token = new_id()
    free = Generation.objects.filter(pk__in=ids, state=state).due(now)
    # Due from now on, so that a hurry in the meantime can be told (_unless_hurried).
    if not free.update(lease_token=token, lease_until=now + LEASE, next_at=now):
        return []
    taken = Generation.objects.filter(pk__in=ids, lease_token=token)
    return sorted(taken, key=lambda generation: ids.index(generation.pk))


def renew(generation: Generation) -> None:
    """A long step is still alive. Raises LeaseLost."""
    if not _mine(generation).update(lease_until=timezone.now() + LEASE):
        raise LeaseLost(generation.pk)


# Ordering


def keep_address(reference: Reference) -> None:
    """KIE has this picture of an order that is about to be sent, at `reference.url`."""
    reference.uploaded_at = timezone.now()
    reference.save(update_fields=["url", "uploaded_at"])


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


def call_of(generation: Generation) -> str:
    """A name for the createTask call of this try."""
    return f"{generation.pk}:{generation.attempts}"


def calls_of_the_last(window: timedelta) -> dict[str, float]:
    """Seconds since each createTask call, by its name. One that is about to go out counts."""
    now = timezone.now()
    claimed = Q(state=State.QUEUED, lease_until__isnull=False)
    sent = Q(submitted_at__gt=now - window)
    calls = Generation.objects.filter(claimed | sent).only("attempts", "submitted_at")
    return {
        call_of(generation): (now - (generation.submitted_at or now)).total_seconds()
        for generation in calls
    }


def send_back(generation: Generation, seconds: float, why: str, answer: Any = None) -> None:
    """Nothing was taken: the order goes back in line. One whose credits were taken back while it
    was being sent ends here: nobody would pay for it any more."""
    with transaction.atomic():
        _move(
            generation,
            State.QUEUED,
            why,
            answer,
            next_at=_in(seconds),
            submitted_at=None,
            attempts=F("attempts") + 1,
        )
        if not _row(generation).filter(taken_back="").exists():
            generation.lease_token = ""
            _end(generation, State.CANCELLED, Reason.CANCELLED, "Taken back before it was taken")


def wait(generation: Generation, seconds: float) -> None:
    """The same step again later; nothing happened that anybody needs to read about."""
    if not _mine(generation).update(
        next_at=_unless_hurried(_in(seconds)), lease_until=None, lease_token=""
    ):
        raise LeaseLost(generation.pk)


def unclear(generation: Generation, why: str, answer: Any = None) -> None:
    """createTask may or may not have arrived. It is never sent again; a callback may tell."""
    with transaction.atomic():
        _move(generation, State.UNKNOWN, why, answer, next_at=timezone.now() + WORD_AFTER)
        breaker.failed(generation.model, why)


def adopt(generation: Generation, task_id: str, answer: Any = None) -> bool:
    """KIE has the order under this id: told by createTask's answer, or later by a callback.

    Needs no lease: whoever learns it first writes it, even after the order was given up, and a
    picture whose hold has been released comes free of charge. False if it was known already.
    """
    without_task = _row(generation).filter(task_id__isnull=True)
    try:
        with transaction.atomic():
            message = f"KIE has it as {task_id}"
            return _run_again(without_task, generation, message, answer, task_id=task_id)
    except IntegrityError as error:
        raise TaskTaken(task_id) from error


def _run_again(
    rows: GenerationQuerySet,
    generation: Generation,
    message: str,
    answer: Any = None,
    **fields: Any,
) -> bool:
    """An order whose task turned up is followed from wherever it stood, even given up."""
    moved = rows.update(
        state=State.RUNNING,
        reason="",
        finished_at=None,
        attempts=0,
        deaths=0,
        next_at=_poll_at(generation),
        lease_until=None,
        lease_token="",
        **fields,
    )
    if moved:
        is_stage = generation.state in SENT_STATES
        _note(generation, State.RUNNING, message, answer, is_stage=is_stage)
    return bool(moved)


def hurry(generation: Generation, task_id: str) -> None:
    """KIE hints that the task has ended: it is asked after now, before all others.

    So is one that we gave up on after a day; what it brings then is free.
    """
    rows = _row(generation).filter(task_id=task_id)
    given_up = rows.filter(reason__in=(Reason.LOST, Reason.CLOSED))
    with transaction.atomic():
        _run_again(given_up, generation, "KIE reports after all")
        rows.filter(state=State.RUNNING).update(next_at=F("created_at"))
        doorbell.ring("poll")


def pause(provider: str, why: str) -> None:
    """Stops all ordering from a provider until staff take the pause away."""
    _row, new = Pause.objects.get_or_create(provider=provider, defaults={"why": why})
    live.tell(live.EVERYBODY, "site")
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
            next_at=_unless_hurried(_poll_at(generation)),
        )
    else:
        ask_again(generation)


def ask_again(generation: Generation) -> None:
    """No news of the task. After a day without an end, staff look at it."""
    if timezone.now() - _sent_at(generation) > PATIENCE:
        give_up(generation, Reason.LOST, "No end of the task within a day")
    else:
        wait(generation, _seconds_between_polls(generation))


def no_news(generations: Sequence[Generation]) -> None:
    """`ask_again` for many that were claimed together, in one statement for those of one age."""
    old = [g for g in generations if timezone.now() - _sent_at(g) > PATIENCE]
    for generation in old:
        with suppress(LeaseLost):
            ask_again(generation)
    young = sorted((g for g in generations if g not in old), key=_seconds_between_polls)
    for seconds, group in groupby(young, key=_seconds_between_polls):
        ids = [generation.pk for generation in group]
        claimed = Generation.objects.filter(
            pk__in=ids, state=State.RUNNING, lease_token=young[0].lease_token
        )
        claimed.update(next_at=_unless_hurried(_in(seconds)), lease_until=None, lease_token="")


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
        breaker.worked(generation.model_id)
        Output.objects.bulk_create(
            [Output(generation=generation, index=i, url=url) for i, url in enumerate(urls)],
            # Staff had it asked after once more: the links may be new ones.
            update_conflicts=True,
            unique_fields=["generation", "index"],
            update_fields=["url"],
        )
        doorbell.ring("store")


def keep_used(generation: Generation, used: int) -> None:
    """KIE says now what it took for an order that has ended."""
    _row(generation).update(kie_credits_used=used)


def keep_stored(output: Output, stored: Stored) -> None:
    """This one of several pictures is safe already."""
    Output.objects.filter(pk=output.pk).update(stored=asdict(stored))


def put_off(generation: Generation, why: str, *, died: bool = False) -> None:
    """The pictures could not be fetched or stored now: again later, for a day.

    `died`: the decoder did, over this picture.
    """
    if timezone.now() - _sent_at(generation) > PATIENCE:
        give_up(generation, Reason.EXPIRED, why)
        return
    deaths = generation.deaths + died
    seconds = SET_ASIDE if deaths >= MOST_DEATHS else min(300, 2 ** min(generation.attempts, 8))
    _move(
        generation,
        State.STORING,
        why,
        next_at=_in(seconds),
        attempts=F("attempts") + 1,
        deaths=deaths,
    )


def try_again(generation: Generation) -> bool:
    """Staff have KIE asked after a task that was given up, or a picture set aside fetched now."""
    rows = _row(generation).filter(task_id__isnull=False)
    with transaction.atomic():
        if _run_again(rows.filter(state=State.REVIEW), generation, "Asked after once more"):
            return True
        aside = rows.set_aside().filter(lease_until__isnull=True)
        if not aside.update(deaths=0, attempts=0, next_at=timezone.now()):
            return False
        _note(generation, State.STORING, "Fetched once more")
        doorbell.ring("store")
    return True


def close(generation: Generation) -> bool:
    """Staff have looked for the picture and cannot get it. One that turns up yet is still free."""
    rows = _row(generation).filter(state=State.REVIEW)
    with transaction.atomic():
        if not rows.update(state=State.FAILED, reason=Reason.CLOSED):
            return False
        _note(generation, State.FAILED, "Closed by staff")
    return True


def discard(generation: Generation) -> None:
    """KIE made it after its credits had been taken back, and it is not wanted any more."""
    _end(generation, State.CANCELLED, Reason.CANCELLED, "The picture came and was thrown away")


def done(generation: Generation, pictures: Mapping[int, Stored]) -> list[Take]:
    """The pictures are safe: takes, charge and state in one transaction.

    `pictures` are the stored ones by the index of their output, at least one. Where fewer came than
    were ordered, only those are charged. The charge falls away where the hold has been released
    before: a late picture is free. Raises LeaseLost also where the picture has been disowned
    meanwhile: the next worker on it discards it.
    """
    now = timezone.now()
    with transaction.atomic():
        _move(generation, State.DONE, "Stored", finished_at=now, reason="")
        if _row(generation).filter(taken_back=TakenBack.DISCARD).exists():  # it is ours to read now
            raise LeaseLost(generation.pk)
        takes = [_keep(generation, index, stored) for index, stored in sorted(pictures.items())]
        if ledger.hold_is_open(generation.hold_reference):
            ledger.capture(
                generation.hold_reference,
                charge_for(generation, len(takes)),
                reference=f"generation:{generation.pk}:capture",
                about=about(generation, real_cost=generation.cost, pictures=len(takes)),
            )
    return takes


def _keep(generation: Generation, index: int, stored: Stored) -> Take:
    output = Output.objects.get(generation=generation, index=index)
    source = generation.source  # what is made of a picture shows no later words than that
    with showing(generation.character_id):
        output.take = Take.objects.create(
            project_id=generation.project_id,
            scene_id=generation.scene_id,
            character_id=generation.character_id,
            made_by_id=generation.ordered_by_id,
            source_url=output.url,
            as_of=source.as_of if source else generation.created_at,
            **asdict(stored),
        )
    output.save(update_fields=["take"])
    return output.take


# Endings without a picture


def fail(
    generation: Generation, why: str, words: str, answer: Any = None, used: int | None = None
) -> None:
    """It will not come: the hold goes back. `why` is a Reason, `words` the provider's, `used` what
    KIE says it took all the same."""
    known = {} if used is None else {"kie_credits_used": used}
    with transaction.atomic():
        _end(generation, State.FAILED, Reason(why), words, answer, **known)
        if why in (Reason.RENDER, Reason.EMPTY):
            breaker.failed(generation.model, words)


def give_up(generation: Generation, why: Reason, words: str) -> None:
    """Nobody knows: the hold goes back, and the order stands on the staff's list."""
    _end(generation, State.REVIEW, why, words)


def _end(
    generation: Generation,
    state: State,
    why: Reason,
    words: str,
    answer: Any = None,
    **fields: Any,
) -> None:
    with transaction.atomic():
        _move(
            generation,
            state,
            words or why.value,
            answer,
            reason=why,
            detail=words[:500],
            finished_at=timezone.now(),
            **fields,
        )
        _release(generation, why)


# The tick


def sweep() -> None:
    """What time alone decides: a worker died in the middle of a step; nobody ever told."""
    now = timezone.now()
    expired = Generation.objects.expired(now)
    unheard = Generation.objects.filter(state=State.UNKNOWN).due(now)
    found = list((expired | unheard).select_related("model"))
    if not found:
        return  # as nearly every second
    # Nothing has happened to these: whoever comes next takes the same step.
    expired.filter(state__in=(State.QUEUED, State.RUNNING)).update(lease_until=None, lease_token="")
    decide = {
        State.SUBMITTING: _died_sending,
        State.STORING: _died_storing,
        State.UNKNOWN: _never_told,
    }
    for generation in found:
        if generation.state in decide:
            with suppress(LeaseLost):  # it has moved on just now
                decide[State(generation.state)](generation)


def _died_sending(generation: Generation) -> None:
    unclear(generation, "The worker died while it was sending")


def _died_storing(generation: Generation) -> None:
    put_off(generation, "The worker died while it was storing", died=True)


def _never_told(generation: Generation) -> None:
    give_up(generation, Reason.LOST, "No sign of the task for 30 minutes")


def ring_due() -> None:
    """Rings for every step that some row is due for."""
    due = Generation.objects.due(timezone.now()).order_by()
    states = set(due.values_list("state", flat=True).distinct())
    for state, step in (
        (State.QUEUED, "submit"),
        (State.RUNNING, "poll"),
        (State.STORING, "store"),
    ):
        if state in states:
            doorbell.ring(step)
    if Callback.objects.filter(heard_at__isnull=True).exists():
        doorbell.ring("hear")


# What an order's money is about


def charge_for(generation: Generation, pictures: int) -> int:
    """The part of the price for so many of the pictures that it is for, rounded up."""
    return -(-generation.price * min(pictures, generation.count) // generation.count)


def about(
    generation: Generation, *, why: str = "", real_cost: int = 0, pictures: int = 0
) -> ledger.About:
    """The words of the user's document for a hold, a charge or a release."""
    model = generation.model
    resolution = f" ({generation.resolution})" if generation.resolution else ""
    metadata: dict[str, Any] = {
        "model": model.model_id,
        "kieCredits": generation.kie_credits_number,
    }
    if generation.operation != Operation.GENERATE:
        metadata["operation"] = generation.operation
    if pictures and generation.count > 1:
        metadata["pictures"] = pictures
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


def _row(generation: Generation) -> GenerationQuerySet:
    return Generation.objects.filter(pk=generation.pk)


def _mine(generation: Generation) -> GenerationQuerySet:
    return _row(generation).filter(state=generation.state, lease_token=generation.lease_token)


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
        _note(generation, state, message, answer, is_stage=state in SENT_STATES)
    generation.state = state


def _note(
    generation: Generation,
    state: State,
    message: str,
    answer: Any = None,
    *,
    is_stage: bool = False,
) -> None:
    """`is_stage`: it is under way as before, only further."""
    Event.objects.create(generation=generation, state=state, message=message[:500], answer=answer)
    _tell(generation, is_stage=is_stage, can_wait=is_stage or state == State.QUEUED)


def _tell(generation: Generation, *, is_stage: bool, can_wait: bool) -> None:
    """The open pages that show the order. As it begins and ends, what is held or paid changes, too,
    and how many scenes are of which kind."""
    later = live.LATER if can_wait else ""
    names = [f"{later}order-{generation.pk}"]
    if generation.scene_id:
        names.append(f"{later}scene-{generation.scene_id}")
    elif generation.character_id:
        names.append(f"{later}character-{generation.character_id}")
    if generation.project_id:
        counts = () if is_stage else (f"{later}scenes",)
        live.tell(live.of_project(generation.project_id), *names, *counts)
    money = () if is_stage else (f"{later}credits",)
    for user in {generation.ordered_by_id, generation.payer_id or generation.ordered_by_id}:
        live.tell(live.of_user(user), names[0], f"{later}orders", *money)


def _unless_hurried(at: datetime) -> Case:
    """`at`, unless a hint came while KIE was being asked: the answer may be older than the hint."""
    return Case(When(next_at=F("created_at"), then=F("created_at")), default=Value(at))


def _in(seconds: float) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


def _sent_at(generation: Generation) -> datetime:
    return generation.submitted_at or generation.created_at


def poll_steps() -> tuple[tuple[timedelta, float], ...]:
    return POLL_STEPS_CALLED_BACK if settings.PUBLIC_URL else POLL_STEPS


def _poll_at(generation: Generation) -> datetime:
    return _in(_seconds_between_polls(generation))


def _seconds_between_polls(generation: Generation) -> float:
    age = timezone.now() - _sent_at(generation)
    return next((seconds for until, seconds in poll_steps() if age < until), POLL_SLOWEST)
