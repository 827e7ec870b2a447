"""What must be true between orders, takes and money, as questions whose answer must be empty.

What is true of the books alone is asked in credits/invariants.py. Every question is one statement,
so that it sees one moment of a site at work; entries are found by the index of `reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db.models import (
    BigIntegerField,
    CharField,
    Count,
    Exists,
    F,
    Field,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce, Concat, Least, Length, Substr

from credits.models import LedgerEntry
from generation.models import OPEN_STATES, Event, Generation, Output, State, TakenBack

Orders = QuerySet[Any]  # Generation with what _orders adds

PREFIX = "generation:"
UNSENT = (State.QUEUED, State.SUBMITTING, State.UNKNOWN)
PICTURELESS = (State.FAILED, State.CANCELLED, State.REVIEW)


def paid_orders_have_their_hold() -> Orders:
    """An order that somebody pays has a hold of its price on that person's ledger."""
    return _paid().exclude(held=F("price"), holder=F("payer"))


def free_orders_touch_no_money() -> Orders:
    """An order that nobody pays, or that costs nothing, has no entry."""
    free = _orders().filter(Q(payer__isnull=True) | Q(price=0))
    return free.filter(Q(held__gt=0) | Q(charged__gt=0) | Q(is_given_back=True))


def done_orders_are_charged_or_given_back() -> Orders:
    """A done order's hold is resolved: charged, or given back before its picture turned up."""
    return _paid().filter(state=State.DONE, charged=0, is_given_back=False)


def charges_are_what_was_quoted() -> Orders:
    """Only a done order is charged, at its real cost, for its project and provider: its price, or
    the part of it for those pictures that came (lifecycle.charge_for)."""
    outputs = Output.objects.filter(generation=OuterRef("pk"), take__isnull=False).order_by()
    came = Coalesce(Subquery(outputs.values("generation").annotate(n=Count("pk")).values("n")), 0)
    part = F("price") * Least(F("count"), came)
    as_quoted = Q(
        state=State.DONE,
        charged=(part + F("count") - 1) / F("count"),
        charged_cost=F("cost"),
        charged_project=Coalesce("project_id", Value("")),
        charged_provider=F("provider"),
    )
    return _orders().filter(charged__gt=0).exclude(as_quoted)


def ended_without_picture_is_given_back() -> Orders:
    """What failed, was cancelled or is under review has its hold given back."""
    return _paid().filter(state__in=PICTURELESS, is_given_back=False)


def holds_stay_until_the_end() -> Orders:
    """An order whose hold was given back has ended, or had when its picture turned up; or the
    credits were taken back after it had been sent."""
    endings = Event.objects.filter(generation=OuterRef("pk"), state__in=PICTURELESS)
    back = _orders().filter(is_given_back=True, taken_back="").exclude(state__in=PICTURELESS)
    return back.filter(Q(state__in=UNSENT) | ~Exists(endings))


def taken_back_is_given_back() -> Orders:
    """Who took the credits back has them, no place in line, and no picture that was to be thrown
    away."""
    taken = _paid().exclude(taken_back="")
    return taken.filter(
        Q(is_given_back=False)
        | Q(state=State.QUEUED)
        | Q(taken_back=TakenBack.DISCARD, state=State.DONE)
    )


def entries_belong_to_an_order() -> Iterable[object]:
    """Every entry that names an order is the hold, the charge or the return of one that exists."""
    named = LedgerEntry.objects.filter(reference__startswith=PREFIX).alias(
        order_id=Substr(
            "reference", len(PREFIX) + 1, Length("reference") - Length("kind") - len(PREFIX) - 1
        )
    )
    right = named.alias(right=Concat(Value(PREFIX), "order_id", Value(":"), "kind"))
    orders = Generation.objects.filter(pk=OuterRef("order_id"))
    return right.filter(~Q(reference=F("right")) | ~Exists(orders))


def done_orders_have_a_stored_picture() -> Orders:
    """A done order has brought at least one picture that is in the storage."""
    stored = Output.objects.filter(generation=OuterRef("pk"), take__isnull=False)
    return Generation.objects.filter(~Exists(stored.exclude(take__image="")), state=State.DONE)


def pictures_come_from_done_orders() -> Iterable[object]:
    """A picture has a take only once its order is done: stored and charged are one thing."""
    return Output.objects.filter(take__isnull=False).exclude(generation__state=State.DONE)


def takes_hang_where_they_were_ordered() -> Iterable[object]:
    """A take belongs to the project and the scene or character of its order."""

    def of(path: str, name: str) -> Coalesce:
        return Coalesce(f"{path}__{name}", Value(""))

    outputs = Output.objects.filter(take__isnull=False)
    names = ("project_id", "scene_id", "character_id")
    same = outputs.alias(**{f"ordered_{name}": of("generation", name) for name in names}).alias(
        **{f"hung_{name}": of("take", name) for name in names}
    )
    return same.exclude(**{f"hung_{name}": F(f"ordered_{name}") for name in names})


def tasks_fit_the_state() -> Orders:
    """An order that is followed or done has KIE's task, one that is not sent yet has none."""
    followed = (State.RUNNING, State.STORING, State.DONE)
    return Generation.objects.filter(
        Q(state__in=followed, task_id__isnull=True) | Q(state__in=UNSENT, task_id__isnull=False)
    )


def outputs_fit_the_state() -> Orders:
    """KIE's pictures are known once its task has ended, and not before."""
    outputs = Exists(Output.objects.filter(generation=OuterRef("pk")))
    return Generation.objects.filter(
        Q(~outputs, state__in=(State.STORING, State.DONE)) | Q(outputs, state__in=UNSENT)
    )


def ends_have_their_time_and_reason() -> Orders:
    """An order has an end when it is not open, and a reason when it ended without a picture."""
    is_open, is_pictureless = Q(state__in=OPEN_STATES), Q(state__in=PICTURELESS)
    wrong_time = (is_open & Q(finished_at__isnull=False)) | (~is_open & Q(finished_at__isnull=True))
    wrong_reason = (is_pictureless & Q(reason="")) | (~is_pictureless & ~Q(reason=""))
    return Generation.objects.filter(wrong_time | wrong_reason)


def trails_lead_to_the_state() -> Orders:
    """The last event of an order is the state that it is in."""
    events = Event.objects.filter(generation=OuterRef("pk")).order_by("-pk")
    last = Coalesce(Subquery(events.values("state")[:1]), Value(""))
    return Generation.objects.alias(last=last).exclude(state=F("last"))


QUESTIONS: tuple[Callable[[], Iterable[object]], ...] = (
    paid_orders_have_their_hold,
    free_orders_touch_no_money,
    done_orders_are_charged_or_given_back,
    charges_are_what_was_quoted,
    ended_without_picture_is_given_back,
    holds_stay_until_the_end,
    taken_back_is_given_back,
    entries_belong_to_an_order,
    done_orders_have_a_stored_picture,
    pictures_come_from_done_orders,
    takes_hang_where_they_were_ordered,
    tasks_fit_the_state,
    outputs_fit_the_state,
    ends_have_their_time_and_reason,
    trails_lead_to_the_state,
)


def violations() -> list[str]:
    """One line for each row that answers a question; empty when all is well."""
    return [f"{ask.__name__}: {row}" for ask in QUESTIONS for row in ask()]


def _orders() -> Orders:
    """Orders with what their entries say: 0, "" or False where there is no such entry."""
    return Generation.objects.alias(
        held=_entry("hold", "held_change", 0),
        holder=_entry("hold", "ledger__owner", 0),
        charged=-_entry("capture", "balance_change", 0),
        charged_cost=_entry("capture", "real_cost", 0),
        charged_project=_entry("capture", "project", ""),
        charged_provider=_entry("capture", "provider", ""),
        is_given_back=Exists(_entries("release")),
    )


def _paid() -> Orders:
    return _orders().filter(payer__isnull=False, price__gt=0)


def _entry(kind: str, field: str, absent: int | str) -> Coalesce:
    output: Field[Any, Any] = CharField() if isinstance(absent, str) else BigIntegerField()
    found = Subquery(_entries(kind).values(field)[:1])
    return Coalesce(found, Value(absent), output_field=output)


def _entries(kind: str) -> QuerySet[LedgerEntry]:
    reference = Concat(Value(PREFIX), OuterRef("pk"), Value(f":{kind}"))
    return LedgerEntry.objects.order_by().filter(reference=reference)
