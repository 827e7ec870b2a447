"""How a project's pictures are made now: its settings, and the model and price that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from generation import defaults, orders
from generation.allowance import Budget, budget_of
from generation.models import KieModel, Slot
from generation.orders import Basis
from generation.pricing import Quote, in_force
from generation.wishes import OrderRefused, Wish
from projects.models import Project

if TYPE_CHECKING:
    from django.contrib.auth.models import User

# The codes of refusals that are the same for every scene and character.
FOR_ALL = ("provider", "model", "model_off", "operation", "price", "resolution")
SOME_WORDS = "A lake"  # long enough for every model


@dataclass(frozen=True)
class Setup:
    """A project's settings with the model and the price that follow from them.

    `refused` says why nothing at all can be ordered; then there is no `quote`. Nor is there one
    where what a picture costs depends on what goes along with it. `budget` is what whoever looks
    may spend.
    """

    settings: defaults.Settings
    basis: Basis | None
    resolution: str
    quote: Quote | None
    refused: OrderRefused | None = None
    budget: Budget = Budget()

    @property
    def model(self) -> KieModel | None:
        return self.basis.model if self.basis else None

    @property
    def model_name(self) -> str:
        return self.model.name if self.model else self.settings.model.value

    @property
    def sends_faces(self) -> bool:
        """The pictures of the cast go along with an order."""
        field = self.model.takes.get(Slot.REFERENCE) if self.model else None
        return field is not None and self.resolution not in field.not_at

    @property
    def price_each(self) -> int | None:
        """Hundredths for any picture; None where it depends on what goes along, or is not known."""
        if self.quote is None or self.model is None:
            return None
        depends = self.sends_faces and in_force(self.model, self.resolution).reference_credits
        return None if depends else self.quote.credits


def setup_of(project: Project, user: User | None = None) -> Setup:
    own = defaults.settings_of(project)
    wanted = own.scene_resolution.value
    wish = Wish(project=project, prompt=SOME_WORDS)
    budget = budget_of(user, project) if user else Budget()
    basis = None
    try:
        basis = orders.basis_for(wish)
        order = orders.prepare(wish, basis)
    except OrderRefused as refused:
        whole = refused if refused.code in FOR_ALL else None
        return Setup(own, basis, wanted, None, whole, budget)
    return Setup(own, basis, order.resolution, order.quote, None, budget)
