"""The takes of a scene or character: their numbers, and how each was made."""

from __future__ import annotations

from dataclasses import dataclass

from generation.models import Generation
from generation.parents import Parent, parent_of
from projects.models import Character, Scene, Take


@dataclass(frozen=True)
class TakeRow:
    """A take with its number (1 for the oldest), the order that brought it, and the take that it
    was made from; None for one that was uploaded, or made from words."""

    take: Take
    number: int
    order: Generation | None
    parent: Parent | None


def takes_of(subject: Scene | Character) -> list[TakeRow]:
    """Newest first."""
    recipe = "output__generation"
    source = f"{recipe}__source"
    takes = subject.takes.newest_first().select_related(
        "made_by", f"{recipe}__model", f"{source}__scene", f"{source}__character"
    )
    numbers = {take.pk: number for number, take in enumerate(reversed(takes), 1)}
    return [_take_row(take, numbers) for take in takes]


def _take_row(take: Take, numbers: dict[str, int]) -> TakeRow:
    order = take.output.generation if hasattr(take, "output") else None
    parent = parent_of(order, numbers) if order else None
    return TakeRow(take, numbers[take.pk], order, parent)
