"""The statement of a ledger: some of its entries with the pictures that they are about, sums of
them, and how much of it went for pictures that are kept.

Whoever pays may not see every project any more that they paid for: its entries stay theirs, but
scenes, people and pictures are named only where they may be seen. The number of queries is the same
for any number of entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db.models import (
    BigIntegerField,
    Count,
    Exists,
    F,
    Model,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
)
from django.db.models.functions import Coalesce, Greatest, Least
from django.utils import timezone

from credits.models import CreditLedger, LedgerEntry
from generation.entries import ORDER_ID
from generation.models import Generation, GenerationQuerySet, KieModel, Output
from projects.models import Character, Project, Scene

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Entries = QuerySet[Any]  # LedgerEntry with `order_id`
Kind = LedgerEntry.Kind

MOST_PARTS = 50


@dataclass(frozen=True)
class Selection:
    """Which entries; an empty wish means all. `subject` is the id of a scene or character, `since`
    and `until` are days of the site's time zone, both within."""

    project: str = ""
    subject: str = ""
    model: str = ""
    person: str = ""
    kind: str = ""
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True)
class Row:
    """An entry with what it leads to; None where there is nothing, or nothing to be seen."""

    entry: LedgerEntry
    project: Project | None
    order: Generation | None

    @property
    def given_back(self) -> int:
        """Hundredths that a release sets free."""
        return -self.entry.held_change

    @property
    def outputs(self) -> list[Output]:
        """With the takes that a charge paid for."""
        if self.order is None or self.entry.kind != Kind.CAPTURE:
            return []
        return list(self.order.outputs.all())


@dataclass(frozen=True)
class Sums:
    """Of a selection, in hundredths of a credit. `kept` is the part of `charged` that went for
    pictures which are shown by their scene or character now."""

    granted: int
    charged: int
    held: int
    kept: int

    @property
    def not_kept(self) -> int:
        return self.charged - self.kept


@dataclass(frozen=True)
class Part:
    """What was charged for one project, scene, model or person; `of` None: not to be seen."""

    of: Model | None
    charged: int
    orders: int


class Statement:
    """Of one person's ledger, as they may see it."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.ledger = CreditLedger.objects.filter(owner=user).first() or CreditLedger(owner=user)

    @property
    def orders(self) -> GenerationQuerySet:
        """All that they paid for."""
        return Generation.objects.filter(payer=self.user)

    @property
    def seen_orders(self) -> GenerationQuerySet:
        """Those of them that they may see."""
        mine = Q(project=None, ordered_by=self.user)
        return self.orders.filter(mine | Q(project__in=Project.objects.visible_to(self.user)))

    # What there is to select by

    def projects(self) -> QuerySet[Project]:
        paid = self.orders.values("project")
        return Project.objects.visible_to(self.user).filter(pk__in=paid).order_by("name", "pk")

    def scenes(self, project: str) -> QuerySet[Scene]:
        return Scene.objects.filter(pk__in=self._in(project).values("scene"))

    def characters(self, project: str) -> QuerySet[Character]:
        return Character.objects.filter(pk__in=self._in(project).values("character"))

    def models(self) -> QuerySet[KieModel]:
        return KieModel.objects.filter(pk__in=self.orders.values("model"))

    def people(self) -> QuerySet[User]:
        ordered = self.seen_orders.values("ordered_by")
        return get_user_model().objects.filter(pk__in=ordered).order_by("username")

    def _in(self, project: str) -> GenerationQuerySet:
        return self.seen_orders.filter(project=project)

    # The entries

    def entries(self, wanted: Selection) -> Entries:
        """The newest first."""
        found: Entries = LedgerEntry.objects.filter(ledger=self.ledger.pk)
        found = found.annotate(order_id=ORDER_ID)
        if wanted.project:
            found = found.filter(project=wanted.project)
        if wanted.kind:
            found = found.filter(kind__in=KINDS[wanted.kind])
        if wanted.since:
            found = found.filter(created_at__gte=_begin_of(wanted.since))
        if wanted.until:
            found = found.filter(created_at__lt=_begin_of(wanted.until + timedelta(days=1)))
        for orders in self._orders_wanted(wanted):
            found = found.filter(order_id__in=orders.values("pk"))
        return found

    def nothing(self) -> Entries:
        """What a selection that is wrong selects."""
        return LedgerEntry.objects.none().annotate(order_id=ORDER_ID)

    def _orders_wanted(self, wanted: Selection) -> Iterable[GenerationQuerySet]:
        if wanted.subject:
            either = Q(scene=wanted.subject) | Q(character=wanted.subject)
            yield self.seen_orders.filter(either)
        if wanted.person:
            yield self.seen_orders.filter(ordered_by=int(wanted.person))
        if wanted.model:
            yield self.orders.filter(model=int(wanted.model))

    def rows(self, entries: Iterable[Any]) -> list[Row]:
        """Of some entries of `entries()`."""
        some = list(entries)
        pictures = Output.objects.filter(take__isnull=False).select_related("take")
        orders = (
            self.seen_orders.select_related("scene", "character")
            .prefetch_related("project", "ordered_by", "model", Prefetch("outputs", pictures))
            .in_bulk({entry.order_id for entry in some})
        )
        projects = Project.objects.visible_to(self.user).in_bulk({entry.project for entry in some})
        return [
            Row(entry, projects.get(entry.project), orders.get(entry.order_id)) for entry in some
        ]

    # Sums

    def sums(self, entries: Entries) -> Sums:
        charges = entries.filter(kind=Kind.CAPTURE)
        unresolved = Q(kind=Kind.HOLD, resolution__isnull=True)
        found = entries.order_by().aggregate(
            granted=Sum("balance_change", filter=Q(kind__in=KINDS["grant"])),
            charged=Sum("balance_change", filter=Q(kind=Kind.CAPTURE)),
            held=Sum("held_change", filter=unresolved),
        )
        # By another name than the annotation: Django would leave that out of its subquery.
        kept = _with_kept(charges).order_by().aggregate(total=Sum("kept"))["total"]
        return Sums(found["granted"] or 0, -(found["charged"] or 0), found["held"] or 0, kept or 0)

    def parts(self, entries: Entries, by: str) -> list[Part]:
        """What was charged, by one of the keys of PARTS; the largest first."""
        orders = self.orders if by == "model" else self.seen_orders
        key = orders.filter(pk=OuterRef("order_id")).annotate(key=PARTS[by]).values("key")[:1]
        charges = entries.filter(kind=Kind.CAPTURE).annotate(key=Subquery(key)).order_by()
        sums = charges.values("key").annotate(charged=-Sum("balance_change"), orders=Count("pk"))
        found = list(sums.order_by("-charged", "key")[:MOST_PARTS])
        named = self._named(by, [row["key"] for row in found if row["key"] is not None])
        return [Part(named.get(row["key"]), row["charged"], row["orders"]) for row in found]

    def _named(self, by: str, keys: list[Any]) -> dict[Any, Any]:
        kinds: dict[str, tuple[Any, ...]] = {
            "person": (get_user_model(),),
            "project": (Project,),
            "model": (KieModel,),
            "subject": (Scene, Character),
        }
        return {pk: row for kind in kinds[by] for pk, row in kind.objects.in_bulk(keys).items()}


# By what the charges can be parted, and the field of their order for it.
PARTS = {
    "person": F("ordered_by"),
    "project": F("project"),
    "subject": Coalesce("scene", "character"),
    "model": F("model"),
}

# What can be selected, and the kinds of entries that it means.
KINDS = {
    "capture": (Kind.CAPTURE,),
    "hold": (Kind.HOLD,),
    "release": (Kind.RELEASE,),
    "grant": (Kind.GRANT, Kind.ADJUST),
}


def _with_kept(charges: Entries) -> Entries:
    """Adds `kept`: the part of a charge for those of its pictures that are shown now. A charge is
    for as many pictures as the price was for, or for fewer, if fewer came."""
    of_order = Output.objects.filter(generation=OuterRef("order_id"), take__isnull=False)
    order = Generation.objects.filter(pk=OuterRef("order_id"))
    priced = Coalesce(Subquery(order.values("count")[:1]), 1, output_field=BigIntegerField())
    came = _number_of(of_order)
    shown = _number_of(of_order.filter(Exists(_shown(Scene)) | Exists(_shown(Character))))
    paid = Greatest(Least(came, priced), Value(1, BigIntegerField()))
    kept: Entries = charges.annotate(kept=-F("balance_change") * Least(shown, paid) / paid)
    return kept


def _number_of(outputs: QuerySet[Output]) -> Coalesce:
    counted = outputs.order_by().values("generation").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted), 0, output_field=BigIntegerField())


def _shown(kind: type[Scene] | type[Character]) -> QuerySet[Any]:
    """Of an output: its scene or character, if it shows this picture now."""
    own = OuterRef(f"take__{kind._meta.model_name}")
    pictured: QuerySet[Any] = kind.objects.with_picture()
    return pictured.filter(pk=own, picture_id=OuterRef("take"))


def _begin_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
