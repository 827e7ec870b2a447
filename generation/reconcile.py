"""What KIE says it took, against what was booked. What does not agree is a row for staff.

Amounts are hundredths of a KIE credit. Two questions are asked:

**Each order.** Booked is the price list's KIE credits at the time of the order, or 0 where it ended
without a picture; used is what recordInfo says (`creditsConsumed`). An order of which KIE has said
nothing, or something else than was booked, is asked after again before anybody is told.

**The account.** Between two samples of the balance, KIE should have taken what it says it took for
our orders. What it took besides went to something that we have no order for: a task whose answer
was lost and that was never found, or somebody else who uses the account. What came was bought, or
given back; staff know which.

KIE takes the credits when it accepts a task, and gives them back when the task fails. So the
balance is compared only between moments at which it is known what KIE had of us: while it was
asked, no createTask was on its way, no task had failed just before, and every task that we followed
was asked after afterwards and had not failed. A busy site has such moments too: they are waited for
a little, and without one there is no sample, which is no error: the next comparison reaches back to
the last one. An order whose answer is lost, and may still be found, postpones the verdict over the
time in which it was sent.

Two rows that cancel each other out are left in one case: KIE ends a task after we gave it up, and
gives back its credits then.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any

from django.conf import settings
from django.db.models import BigIntegerField, Case, F, Q, QuerySet, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from credits.templatetags.money import in_credits
from generation import jobs, lifecycle
from generation.kie.client import KieError, Task, TaskUnknown, Unclear
from generation.models import (
    OPEN_STATES,
    BalanceSample,
    Difference,
    Event,
    Generation,
    Reason,
    State,
)

log = logging.getLogger(__name__)

Orders = QuerySet[Any]  # Generation with what _ended adds

KEPT = timedelta(days=60)  # KIE keeps the records of its tasks for two months
ASKING_SECONDS = 300  # what one run spends on asking after orders again, the newest first
ASKED_AT_ONCE = 16
ARRIVES = timedelta(minutes=1)  # createTask has by then, or never will
GIVEN_BACK = timedelta(seconds=10)  # after a task has failed; KIE says nothing about it
PAUSES = (0, 2, 5, 10, 20, 30)  # seconds before each try to find a moment for a sample
PICTURELESS = (State.FAILED, State.REVIEW)  # what was thrown away on wish was made, and is booked


@dataclass(frozen=True)
class Report:
    """`asked`: orders that KIE was asked after again; `silent`: those of which it does not say what
    it took; `postponed`: times between samples over which there is no verdict yet."""

    orders: int
    asked: int
    silent: int
    sample: BalanceSample | None
    postponed: int


def run(since: datetime) -> Report:
    """Compares the orders placed since then, and the samples since then with a new one.

    Raises KieError where KIE does not say what is left; nothing has been written then.
    """
    sample = take_sample()
    asked = ask_again(since)
    compare_orders(since)
    postponed = compare_samples(since)
    ended = _ended(since)
    silent = ended.filter(kie_credits_used__isnull=True).count()
    return Report(ended.count(), asked, silent, sample, postponed)


def settle(differences: QuerySet[Difference], note: str) -> list[Difference]:
    """Staff know the reason: those of these that were open are not any more.

    A settled difference comes back only with other figures.
    """
    settled = list(differences.filter(settled_at__isnull=True))
    for row in settled:
        row.note, row.settled_at = note, timezone.now()
        row.save(update_fields=["note", "settled_at"])
    return settled


# Each order


def booked_for(order: Generation) -> int:
    return 0 if order.state in PICTURELESS else order.kie_credits


def _ended(since: datetime) -> Orders:
    """Orders that KIE had and that have ended, with `booked` (`booked_for`) for each."""
    booked = Case(
        When(state__in=PICTURELESS, then=Value(0)),
        default=F("kie_credits"),
        output_field=BigIntegerField(),
    )
    had = Generation.objects.filter(created_at__gte=since, task_id__isnull=False)
    return had.exclude(state__in=OPEN_STATES).annotate(booked=booked)


def ask_again(since: datetime) -> int:
    """Asks KIE after the orders that do not agree, or of which it said nothing; how many."""
    kept = _ended(max(since, timezone.now() - KEPT))
    doubtful = kept.exclude(kie_credits_used__isnull=False, kie_credits_used=F("booked"))
    unsettled = doubtful.exclude(difference__settled_at__isnull=False)
    asked, until = 0, time.monotonic() + ASKING_SECONDS
    for order in unsettled.order_by("-created_at").only("task_id", "reason"):
        if time.monotonic() > until or not jobs.queries_allowed(1):
            break
        answer = _record_of(order)
        if isinstance(answer, Task):
            _heard(order, answer)
        elif not isinstance(answer, TaskUnknown | Unclear):
            break  # not now: KIE has had enough, or our account is blocked
        asked += 1
    return asked


def _record_of(order: Generation) -> Task | KieError:
    """Runs in a thread, too; touches no database."""
    try:
        return jobs.kie().record_info(order.task_id or "")
    except KieError as error:
        log.info("[KIE] Task %s: %s", order.task_id, error.words)
        return error


def _heard(order: Generation, task: Task) -> None:
    if task.used is not None:
        lifecycle.keep_used(order, task.used)
    if task.outcome == "success" and order.reason == Reason.LOST and order.task_id:
        lifecycle.hurry(order, order.task_id)  # made after we gave it up: let it be fetched


def compare_orders(since: datetime) -> None:
    wrong = _ended(since).filter(kie_credits_used__isnull=False)
    wrong = wrong.exclude(kie_credits_used=F("booked"))
    for order_id, booked, used in wrong.values_list("pk", "booked", "kie_credits_used"):
        _found(booked, used, generation_id=order_id)
    of_these = Difference.objects.open().filter(generation__created_at__gte=since)
    of_these.exclude(generation__in=wrong.values("pk")).delete()


def _found(booked: int, used: int, since: BalanceSample | None = None, **what: Any) -> None:
    """Writes the row, unless it stands there, open or settled, with the same figures."""
    figures = {"booked": booked, "used": used}
    row, is_new = Difference.objects.get_or_create(**what, defaults={"since": since, **figures})
    if not is_new and (row.booked, row.used) != (booked, used):
        Difference.objects.filter(pk=row.pk).update(settled_at=None, **figures)


# The account


def take_sample() -> BalanceSample | None:
    """What is left at KIE, at a moment at which it is known what KIE has of us; None without one.

    Raises KieError.
    """
    for seconds in PAUSES:
        time.sleep(seconds)
        if sample := _sample_now():
            sample.save(force_insert=True)
            return sample
    return None


def _sample_now() -> BalanceSample | None:
    now = timezone.now()
    was_calm, last_sent = not _is_sending(now), _last_sent()
    credits = jobs.kie().credit()
    if was_calm and _last_sent() == last_sent and _none_has_failed(now):
        return BalanceSample(account=settings.KIE_API_URL, at=now, credits=credits)
    return None


def _is_sending(now: datetime) -> bool:
    """May a createTask be on its way that KIE has not accepted yet?"""
    unanswered = Q(state=State.UNKNOWN, submitted_at__gt=now - ARRIVES)
    return Generation.objects.filter(Q(state=State.SUBMITTING) | unanswered).exists()


def _last_sent() -> int | None:
    """Changes with every createTask, before it leaves."""
    sent = Event.objects.filter(state=State.SUBMITTING).order_by("-pk")
    return sent.values_list("pk", flat=True).first()


def _none_has_failed(since: datetime) -> bool:
    """No task of ours, as far as we and KIE know, since or shortly before."""
    failed = Generation.objects.filter(state__in=PICTURELESS, task_id__isnull=False)
    if failed.filter(finished_at__gt=since - GIVEN_BACK).exists():
        return False
    followed = list(Generation.objects.filter(state=State.RUNNING))
    if not followed:
        return True
    if jobs.queries_allowed(len(followed)) < len(followed):
        return False
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        return all(threads.map(_has_not_failed, followed))


def _has_not_failed(order: Generation) -> bool:
    answer = _record_of(order)
    if isinstance(answer, Task):
        return answer.outcome != "fail"
    return isinstance(answer, TaskUnknown)  # it has just been made


def compare_samples(since: datetime) -> int:
    """Writes where the balance fell by something else than our orders took; how many are postponed.

    All samples of this account since then are compared anew: what an order took may be known only
    by now.
    """
    own = BalanceSample.objects.filter(account=settings.KIE_API_URL, at__gte=since)
    samples = list(own.order_by("at", "pk"))
    if not samples:
        return 0
    taken, unanswered = _taken_at(samples), _unanswered()
    agree, postponed = [], 0
    for (before, taken_before), (after, taken_after) in pairwise(zip(samples, taken, strict=True)):
        booked, used = taken_after - taken_before, before.credits - after.credits
        if any(before.at < sent <= after.at for sent in unanswered):
            postponed += 1
        elif booked == used:
            agree.append(after)
        else:
            _found(booked, used, since=before, until=after)
    Difference.objects.open().filter(until__in=agree).delete()
    return postponed


def _unanswered() -> list[datetime]:
    """When those orders were sent of which nobody knows yet whether KIE has them."""
    waiting = Generation.objects.filter(state__in=(State.SUBMITTING, State.UNKNOWN))
    return [sent for sent in waiting.values_list("submitted_at", flat=True) if sent]


def _taken_at(samples: Sequence[BalanceSample]) -> list[int]:
    """What KIE had taken for our orders at each sample, counted from some time before the first."""
    movements = sorted(_movements(samples[0].at))
    moments = [at for at, _credits in movements]
    sums = [0, *accumulate(credits for _at, credits in movements)]
    return [sums[bisect_right(moments, sample.at)] for sample in samples]


def _movements(since: datetime) -> Iterator[tuple[datetime, int]]:
    """When KIE took credits for an order, and when it gave some back; at least all since then."""
    had = Generation.objects.filter(task_id__isnull=False, submitted_at__isnull=False)
    moved = had.filter(Q(submitted_at__gt=since) | Q(finished_at__gt=since))
    columns = ("submitted_at", "finished_at", "state", "kie_credits", "kie_credits_used")
    for sent, ended, state, booked, used in moved.values_list(*columns):
        if state in PICTURELESS and ended:
            yield sent, booked
            yield ended, (used or 0) - booked
        else:
            yield sent, booked if used is None else used


# In words


def in_words(difference: Difference) -> str:
    booked, used = in_credits(difference.booked), in_credits(difference.used)
    if difference.generation_id:
        if not difference.booked:
            return _("KIE took %(used)s for an order that brought no picture.") % {"used": used}
        words = _("KIE took %(used)s for this order; %(booked)s were booked.")
        return words % {"used": used, "booked": booked}
    if difference.more < 0:
        words = _("The balance is %(more)s higher than our orders explain: bought, or given back.")
        return words % {"more": in_credits(-difference.more)}
    words = _("The balance fell by %(used)s and our orders explain %(booked)s: %(more)s too much.")
    told = words % {"used": used, "booked": booked, "more": in_credits(difference.more)}
    if lost := ", ".join(order.pk for order in lost_orders(difference)):
        told += " " + _("Orders whose answer was lost in this time: %(orders)s.") % {"orders": lost}
    return told


def lost_orders(difference: Difference) -> list[Generation]:
    """Those sent between the two samples of which nobody knows whether KIE has them."""
    if difference.since is None or difference.until is None:
        return []
    sent = Generation.objects.filter(
        submitted_at__gt=difference.since.at, submitted_at__lte=difference.until.at
    )
    return list(sent.filter(task_id__isnull=True).order_by("submitted_at"))
