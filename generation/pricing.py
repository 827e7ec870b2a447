"""What one order costs. The button, the hold and the charge all come from `quote`."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone

from generation.models import KieModel, Price


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
    """The price in force now, for the resolution or else for every resolution."""
    now = timezone.now()
    current = [p for p in model.prices.all() if p.since <= now]  # newest first, see Price.Meta
    price = _first(current, resolution) or _first(current, "")
    if price is None:
        raise NoPrice(f"{model.model_id} at {resolution or 'any resolution'}")
    return Quote(credits=price.credits, kie_credits=price.credits, cost=price.cost)


def _first(prices: list[Price], resolution: str) -> Price | None:
    return next((p for p in prices if p.resolution == resolution), None)
