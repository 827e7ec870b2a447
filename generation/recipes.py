"""How takes were made: what was asked, what came of it, and in what two of them differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from credits.templatetags.money import in_credits
from generation.models import AUTO, Generation, Operation
from generation.parents import Parent, parent_of
from generation.receipt import WentAlong, went_along
from generation.rework import WORKS
from generation.standing import seconds_since
from generation.templatetags.clock import duration
from projects.models import Take

WORD = re.compile(r"\s*\S+\s*$|\s*\S+")
MOST_WORDS = 3000  # of two prompts, up to which they are compared word by word


@dataclass(frozen=True)
class Recipe:
    """Of a take that was ordered here. `seed` is "" where neither we nor KIE named one."""

    take: Take
    order: Generation
    parent: Parent | None
    along: list[WentAlong]
    seed: str

    @property
    def again_url(self) -> str:
        """Where the same can be ordered once more; "" for what no page offers."""
        order = self.order
        if order.operation == Operation.GENERATE:
            return reverse("generation:rework", args=[self.take.pk, Operation.GENERATE])
        if order.operation not in WORKS:
            return ""
        page = reverse("generation:rework", args=[order.source_id, order.operation])
        return f"{page}?again={order.pk}"

    @property
    def took(self) -> str:
        """From the click to the stored picture."""
        order = self.order
        if order.finished_at is None:
            return ""
        return duration(seconds_since(order.created_at, order.finished_at))


@dataclass(frozen=True)
class Fact:
    """One thing that a recipe says."""

    name: str
    value: str


@dataclass(frozen=True)
class Difference:
    """One thing that two recipes say differently."""

    name: str
    values: tuple[str, str]


@dataclass(frozen=True)
class Piece:
    """Some words of a prompt; `is_other`: the other prompt does not have them here."""

    text: str
    is_other: bool


def recipe_of(take: Take, numbers: Mapping[str, int]) -> Recipe | None:
    """None for a take that was uploaded, or comes from an older system. `numbers` are those of the
    takes of its scene or character."""
    orders = Generation.objects.filter(outputs__take=take)
    order = orders.select_related("model", "source__scene", "source__character").first()
    if order is None:
        return None
    return Recipe(
        take, order, parent_of(order, numbers), went_along(order, numbers), _seed_of(order)
    )


def facts_of(take: Take, recipe: Recipe | None) -> list[Fact]:
    """What there is to say of a take besides its prompt."""
    told = {_("Made by"): _("Uploaded, or from an older system")}
    if recipe:
        order = recipe.order
        as_it_is = order.aspect_ratio == AUTO
        told = {
            _("Operation"): order.work,
            _("Model"): str(order.model),
            _("Aspect ratio"): _("As it is") if as_it_is else order.aspect_ratio,
            _("Resolution"): order.resolution,
            _("Seed"): recipe.seed,
            _("Pictures that went along"): ", ".join(one.name for one in recipe.along),
            _("Price"): in_credits(order.price_each),
            _("Took"): recipe.took,
        }
    told[_("Size")] = f"{take.width} × {take.height}" if take.width else ""
    return [Fact(name, value) for name, value in told.items() if value]


def differences(first: list[Fact], second: list[Fact]) -> list[Difference]:
    """In the order of the first. How long it took is no part of a recipe."""
    one, other = ({fact.name: fact.value for fact in facts} for facts in (first, second))
    return [
        Difference(name, (one.get(name, ""), other.get(name, "")))
        for name in {**one, **other}
        if one.get(name) != other.get(name) and name != _("Took")
    ]


def reworded(first: str, second: str) -> tuple[list[Piece], list[Piece]]:
    """Two prompts in pieces that say where they differ; each in one where that would take long."""
    one, other = WORD.findall(first), WORD.findall(second)
    if len(one) + len(other) > MOST_WORDS:
        return [Piece(first, False)], [Piece(second, False)]
    steps = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return (
        [Piece("".join(one[a:b]), step != "equal") for step, a, b, _c, _d in steps if a < b],
        [Piece("".join(other[c:d]), step != "equal") for step, _a, _b, c, d in steps if c < d],
    )


def _seed_of(order: Generation) -> str:
    """What we sent, or what KIE said with the result."""
    for told in (order.request.get("input"), *_results(order)):
        seed = told.get("seed") if isinstance(told, dict) else None
        if isinstance(seed, int | str) and not isinstance(seed, bool):
            return str(seed)[:40]
    return ""


def _results(order: Generation) -> Iterator[Any]:
    """KIE's `resultJson` in what it answered: text with JSON in it, now and then an object."""
    for answer in order.events.exclude(answer=None).values_list("answer", flat=True):
        data = answer.get("data") if isinstance(answer, dict) else None
        result = data.get("resultJson") if isinstance(data, dict) else None
        if isinstance(result, str):
            with suppress(ValueError, RecursionError):
                result = json.loads(result)
        yield result
