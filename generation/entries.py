"""The entries of an order: its reference (`generation:<id>:hold`) is all that leads from the books
to it, and from it to them. Entries are found by the index of `reference`."""

from __future__ import annotations

from typing import Any

from django.db.models import (
    BigIntegerField,
    Case,
    CharField,
    Exists,
    F,
    Field,
    OuterRef,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Concat, Length, Substr

from credits.models import LedgerEntry
from generation.models import Generation

Orders = QuerySet[Any]  # Generation with what with_entries adds

PREFIX = "generation:"

# The order that an entry names; "" for an entry that names none.
ORDER_ID = Case(
    When(
        reference__startswith=PREFIX,
        then=Substr(
            "reference", len(PREFIX) + 1, Length("reference") - Length("kind") - len(PREFIX) - 1
        ),
    ),
    default=Value(""),
    output_field=CharField(),
)

# What an order of `with_entries` has cost until now: what was charged; until then what is held.
SPENT = Case(
    When(charged__gt=0, then=F("charged")),
    When(is_given_back=True, then=Value(0)),
    default=F("held"),
    output_field=BigIntegerField(),
)


def with_entries(orders: QuerySet[Generation]) -> Orders:
    """Orders with what their entries say: 0, "" or False where there is no such entry."""
    return orders.alias(
        held=_entry("hold", "held_change", 0),
        holder=_entry("hold", "ledger__owner", 0),
        charged=-_entry("capture", "balance_change", 0),
        charged_cost=_entry("capture", "real_cost", 0),
        charged_project=_entry("capture", "project", ""),
        charged_provider=_entry("capture", "provider", ""),
        is_given_back=Exists(_entries("release")),
    )


def _entry(kind: str, field: str, absent: int | str) -> Coalesce:
    output: Field[Any, Any] = CharField() if isinstance(absent, str) else BigIntegerField()
    found = Subquery(_entries(kind).values(field)[:1])
    return Coalesce(found, Value(absent), output_field=output)


def _entries(kind: str) -> QuerySet[LedgerEntry]:
    reference = Concat(Value(PREFIX), OuterRef("pk"), Value(f":{kind}"))
    return LedgerEntry.objects.order_by().filter(reference=reference)
