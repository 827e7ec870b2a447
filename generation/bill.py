"""What ordering several pictures by one click would cost, before anything is ordered: which scenes,
which are skipped and why, and what it comes to in all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from django.db.models import Count, QuerySet, TextChoices
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.models import CreditLedger
from generation.asks import MOST_SHOWN
from generation.batch import retried
from generation.board import Card, cards_of
from generation.filters import scenes_of
from generation.models import Batch, State
from generation.orders import Order
from generation.setup import Setup
from projects.models import Project, Role, Scene

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST = 500  # pictures by one click: their orders are written in one transaction
MOST_VARIANTS = 8  # of a scene


class Which(TextChoices):
    """Which scenes. The first ones are filters of the board."""

    MISSING = "missing", gettext_lazy("Missing")
    FAILED = "failed", gettext_lazy("Failed")
    OLD = "old", gettext_lazy("Out of date")
    ALL = "all", gettext_lazy("All")
    SELECTED = "selected", gettext_lazy("Selected")
    RETRY = "retry", gettext_lazy("Failed in the batch")


@dataclass(frozen=True)
class Choices:
    """What somebody chose to be ordered.

    `cap`: hundredths of a credit; None: no limit but what there is. `selected` are ids of scenes
    for SELECTED, `batch` the one of which RETRY orders again what failed, as often as it failed.
    """

    which: Which = Which.MISSING
    selected: tuple[str, ...] = ()
    batch: Batch | None = None
    variants: int = 1
    cap: int | None = None


@dataclass(frozen=True)
class Line:
    """A scene of the bill: with `why`, it is skipped."""

    card: Card
    variants: int
    why: str = ""

    @property
    def scene(self) -> Scene:
        assert isinstance(self.card.subject, Scene)
        return self.card.subject

    @property
    def order(self) -> Order:
        assert self.card.offer
        return self.card.offer

    @property
    def price(self) -> int:
        """Hundredths for all of its variants."""
        return self.order.quote.credits * self.variants


@dataclass(frozen=True)
class Bill:
    """`left`: hundredths that whoever looks may spend; None where that is not theirs to know."""

    lines: tuple[Line, ...]
    cap: int | None
    left: int | None

    @cached_property
    def able(self) -> list[Line]:
        return [line for line in self.lines if not line.why]

    @cached_property
    def skipped(self) -> list[Line]:
        return [line for line in self.lines if line.why]

    @cached_property
    def ready(self) -> list[Line]:
        """What is ordered: the first ones, as far as the limits reach."""
        sums = accumulate(line.price for line in self.able)
        counts = accumulate(line.variants for line in self.able)
        fit = sum(
            (self.cap is None or price <= self.cap) and count <= MOST
            for price, count in zip(sums, counts, strict=True)
        )
        return self.able[:fit]

    @property
    def left_out(self) -> list[Line]:
        """What could be ordered and is beyond the limits."""
        return self.able[len(self.ready) :]

    @property
    def is_most(self) -> bool:
        """It is the number of pictures that leaves some out, not the cap."""
        if not self.left_out:
            return False
        return self.pictures + self.left_out[0].variants > MOST

    @property
    def pictures(self) -> int:
        return sum(line.variants for line in self.ready)

    @property
    def total(self) -> int:
        return sum(line.price for line in self.ready)

    @property
    def same_price(self) -> int | None:
        """Of each picture; None where they differ."""
        prices = {line.order.quote.credits for line in self.ready}
        return prices.pop() if len(prices) == 1 else None

    @property
    def after(self) -> int:
        """What is left then; less than 0 where it is not enough."""
        return (self.left or 0) - self.total

    @property
    def is_too_much(self) -> bool:
        return self.left is not None and self.after < 0

    @property
    def asked(self) -> list[Line]:
        """Of which the owner can be asked for a picture each: as many as the owner sees at once."""
        return self.ready[:MOST_SHOWN]

    @property
    def asked_price(self) -> int:
        return sum(line.order.quote.credits for line in self.asked)

    @property
    def mark(self) -> str:
        """Another one for anything else that would be ordered, or another price of it."""
        told = [f"{ln.scene.pk}:{ln.variants}:{ln.order.quote.credits}" for ln in self.ready]
        return hashlib.sha256(" ".join(told).encode()).hexdigest()


def bill_for(project: Project, user: User, role: Role, setup: Setup, choices: Choices) -> Bill:
    """The number of queries does not grow with the scenes."""
    failures = _failures(choices.batch) if choices.which == Which.RETRY else {}
    cards = cards_of(project, _scenes(project, setup, choices, failures), role, setup)
    return Bill(
        lines=tuple(
            Line(
                card,
                failures.get(card.subject.pk, 0) or choices.variants,
                _why_not(card, choices, failures),
            )
            for card in cards
        ),
        cap=choices.cap,
        left=_left(project, user, setup),
    )


def _scenes(
    project: Project, setup: Setup, choices: Choices, failures: dict[str, int]
) -> QuerySet[Scene]:
    if choices.which == Which.SELECTED:
        return project.scenes.filter(pk__in=choices.selected)
    if choices.which == Which.RETRY:
        return project.scenes.filter(pk__in=failures)
    found, _choices = scenes_of(project, choices.which, sends_faces=setup.sends_faces)
    return found


def _failures(batch: Batch | None) -> dict[str, int]:
    """How many orders of a batch failed, by the id of their scene; 0 where that scene has been
    ordered again since."""
    if batch is None:
        return {}
    failed = batch.orders.filter(state=State.FAILED).order_by()
    again = set(retried(failed).values_list("scene", flat=True))
    counts = dict(failed.values_list("scene").annotate(Count("pk")))
    return {scene: 0 if scene in again else count for scene, count in counts.items() if scene}


def _why_not(card: Card, choices: Choices, failures: dict[str, int]) -> str:
    """Whoever names a scene wants it, whatever became of its last order."""
    scene, order = card.subject, card.order
    if isinstance(scene, Scene) and scene.is_locked:
        return _("It is locked.")
    if card.refused:
        return card.refused.words
    if choices.which == Which.RETRY and not failures.get(scene.pk):
        return _("It has been ordered again since.")
    if card.is_open and choices.which != Which.RETRY:
        return _("It is under way already.")
    if choices.which == Which.SELECTED or order is None:
        return ""
    if order.state == State.REVIEW:
        return _("Staff are looking at its last order.")
    return str(order.get_reason_display()) if card.words_at_fault else ""


def _left(project: Project, user: User, setup: Setup) -> int | None:
    """Of the owner's credits only the owner is told."""
    if user.pk != project.owner_id:
        return setup.budget.left
    ledger = CreditLedger.objects.filter(owner=user).first()
    return ledger.available if ledger else 0
