"""What one order costs. The button, the hold and the charge all come from `quote`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils import timezone

from generation.models import KieModel, Multiplier, Price

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SAME = 100  # percent: a credit of ours for a KIE credit


@dataclass(frozen=True)
class Quote:
    """`credits` is what the user pays, `kie_credits` what KIE takes: hundredths of a credit.

    `cost` is what it costs us, in micro-dollars.
    """

    credits: int
    kie_credits: int
    cost: int


class NoPrice(Exception):
    """The catalogue has no price for this model at this resolution: it cannot be ordered."""


def quote(
    model: KieModel, name: str, *, percent: int = SAME, count: int = 1, references: int = 0
) -> Quote:
    """The newest price that is in force under this name (KieModel.price_names), or under every one.

    `percent` is the payer's multiplier (`percent_for`); what it leaves below a hundredth of a
    credit is rounded up. Raises NoPrice.
    """
    price = in_force(model, name)
    billed = max(0, references - price.free_references)
    kie_credits = price.credits * count + price.reference_credits * billed
    return Quote(
        credits=-(-kie_credits * percent // SAME),
        kie_credits=kie_credits,
        cost=price.cost * count + price.reference_cost * billed,
    )


def percent_for(payer: User | None) -> int:
    """What 100 KIE credits cost this payer in our credits; `None` is nobody, at the site's."""
    now = timezone.now()
    rows = Multiplier.objects.filter(Q(payer=payer) | Q(payer=None), since__lte=now)
    newest: dict[int | None, int | None] = {}
    for row in rows:  # newest first (Multiplier.Meta)
        newest.setdefault(row.payer_id, row.percent)
    own = newest.get(payer.pk) if payer else None
    return own or newest.get(None) or SAME


def in_force(model: KieModel, name: str) -> Price:
    """The price row that holds now. Raises NoPrice."""
    now = timezone.now()
    # Newest first (Price.Meta), and of the same moment the one that was written last.
    for price in model.prices.all():
        if price.since <= now and price.resolution in (name, ""):
            return price
    raise NoPrice(f"{model.model_id} at {name or 'any resolution'}")
