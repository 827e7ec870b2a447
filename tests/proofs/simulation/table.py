"""Which meetings were reached: a place where a step died, and an answer that its order got.

A cell counts the deaths at a place with an order in hand that, at some time in its life, got this
answer; where the dying step itself had asked, only what it was told counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import TYPE_CHECKING

from tests.proofs.simulation.effects import lasting
from tests.proofs.simulation.faults import ANSWERS
from tests.proofs.simulation.possible import is_impossible, is_possible
from tests.proofs.simulation.world import Place

if TYPE_CHECKING:
    from tests.proofs.simulation.story import Story

Cell = tuple[Place, str, str]
MAGNITUDES = ((1000, "M"), (100, "C"), (10, "X"))
WIDTH = 42  # of a place's name
LEGEND = """\
Deaths at a place × classes of answers in the life of the order in hand.
X tens, C hundreds, M thousands; . cannot be (simulation/possible.py says why); ? never reached."""


@dataclass
class Table:
    passed: set[Place] = field(default_factory=set)  # places where a step could have died
    deaths: Counter[Place] = field(default_factory=Counter)
    cells: Counter[Cell] = field(default_factory=Counter)

    def note(self, story: Story) -> None:
        self.passed |= story.world.passed
        for death in story.deaths:
            self.deaths[death.place] += 1
            met = {
                (death.place, asked, answer)
                for order in death.orders
                for asked, answer in _met(story.lives[order], death.answers.get(order, {}))
            }
            self.cells.update(met)

    def add(self, other: Table) -> None:
        self.passed |= other.passed
        self.deaths += other.deaths
        self.cells += other.cells

    @property
    def places(self) -> list[Place]:
        return sorted(self.passed, key=str)

    def missing(self) -> list[str]:
        """What a step leaves behind somewhere in the product, and no step of a story has."""
        return sorted(lasting() - {place.after for place in self.passed})

    def unreached(self) -> list[Cell]:
        """Cells that are possible and empty."""
        return [
            (place, asked, name)
            for place in self.places
            for asked, classes in ANSWERS.items()
            for name in classes
            if not self.cells[place, asked, name] and is_possible(place, asked, name)
        ]

    def contradictions(self) -> list[Cell]:
        """Cells that were said to be impossible, and are not empty."""
        return [cell for cell in self.cells if is_impossible(*cell)]

    def lines(self) -> Iterator[str]:
        """One place in a line, a letter for each class of answers."""
        yield LEGEND
        for asked, classes in ANSWERS.items():
            named = zip(ascii_lowercase, classes, strict=False)
            yield f"  {asked}: {', '.join(f'{letter} {name}' for letter, name in named)}"
        heads = (f"{asked:{len(classes)}.{len(classes)}}" for asked, classes in ANSWERS.items())
        letters = (ascii_lowercase[: len(classes)] for classes in ANSWERS.values())
        yield f"{'':{WIDTH}} deaths {' '.join(heads)}"
        yield f"{'':{WIDTH}}        {' '.join(letters)}"
        for place in self.places:
            groups = (
                "".join(self._sign(place, asked, name) for name in classes)
                for asked, classes in ANSWERS.items()
            )
            yield f"{place!s:{WIDTH}} {self.deaths[place]:6} {' '.join(groups)}"

    def _sign(self, place: Place, asked: str, name: str) -> str:
        count = self.cells[place, asked, name]
        if not count:
            return "?" if is_possible(place, asked, name) else "."
        return next((sign for least, sign in MAGNITUDES if count >= least), str(count))


def _met(life: dict[str, list[str]], in_step: dict[str, str]) -> Iterator[tuple[str, str]]:
    for asked, answers in life.items():
        for answer in [in_step[asked]] if asked in in_step else set(answers):
            yield asked, answer
