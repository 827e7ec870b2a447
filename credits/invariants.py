"""What must be true of the books, as questions whose answer must be empty."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django.db.models import F, OuterRef, Q, Subquery, Sum, Window
from django.db.models.functions import Coalesce, Lag

from credits.models import CreditLedger, LedgerEntry

Kind = LedgerEntry.Kind


def balance_is_the_sum() -> Iterable[object]:
    """A ledger's balance and held are the sums of its entries' changes."""
    ledgers = CreditLedger.objects.annotate(
        balance_sum=Coalesce(Sum("entries__balance_change"), 0),
        held_sum=Coalesce(Sum("entries__held_change"), 0),
    )
    return ledgers.exclude(balance=F("balance_sum"), held=F("held_sum"))


def held_is_the_open_holds() -> Iterable[object]:
    """What is held is what the open holds say."""
    still_open = Q(entries__kind=Kind.HOLD, entries__resolution__isnull=True)
    ledgers = CreditLedger.objects.annotate(
        open_sum=Coalesce(Sum("entries__held_change", filter=still_open), 0)
    )
    return ledgers.exclude(held=F("open_sum"))


def entries_follow_each_other() -> Iterable[object]:
    """Every entry leaves what the one before it left, plus its own change."""

    def before(name: str) -> Coalesce:
        return Coalesce(Window(Lag(name), partition_by="ledger", order_by="pk"), 0)

    entries = LedgerEntry.objects.annotate(
        balance_before=before("balance_after"), held_before=before("held_after")
    )
    return entries.exclude(
        balance_after=F("balance_before") + F("balance_change"),
        held_after=F("held_before") + F("held_change"),
    )


def last_entry_is_the_ledger() -> Iterable[object]:
    """A ledger stands where its last entry left it."""
    last = LedgerEntry.objects.filter(ledger=OuterRef("pk")).order_by("-pk")
    ledgers = CreditLedger.objects.annotate(
        last_balance=Coalesce(Subquery(last.values("balance_after")[:1]), 0),
        last_held=Coalesce(Subquery(last.values("held_after")[:1]), 0),
    )
    return ledgers.exclude(balance=F("last_balance"), held=F("last_held"))


def resolutions_fit_their_hold() -> Iterable[object]:
    """A capture or release undoes the whole of one hold of its own ledger, and takes no more."""
    fits = Q(
        hold__kind=Kind.HOLD,
        hold__ledger=F("ledger"),
        held_change=-F("hold__held_change"),
        balance_change__gte=-F("hold__held_change"),
    )
    return LedgerEntry.objects.filter(hold__isnull=False).exclude(fits)


INVARIANTS: tuple[Callable[[], Iterable[object]], ...] = (
    balance_is_the_sum,
    held_is_the_open_holds,
    entries_follow_each_other,
    last_entry_is_the_ledger,
    resolutions_fit_their_hold,
)


def violations() -> list[str]:
    """One line for each row that breaks an invariant; empty when the books are right."""
    return [f"{find.__name__}: {row}" for find in INVARIANTS for row in find()]
