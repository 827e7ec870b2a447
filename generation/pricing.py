"""What one order costs. The button, the hold and the charge all come from `quote`."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone

from generation.models import KieModel


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


def quote(model: KieModel, resolution: str) -> Quote:
    """The newest price that is in force, for this resolution or for every one."""
    now = timezone.now()
    # Newest first (Price.Meta), and of the same moment the one that was written last.
    for price in model.prices.all():
        if price.since <= now and price.resolution in (resolution, ""):
            return Quote(credits=price.credits, kie_credits=price.credits, cost=price.cost)
    raise NoPrice(f"{model.model_id} at {resolution or 'any resolution'}")
