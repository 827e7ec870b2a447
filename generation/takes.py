"""The takes on the page of a scene or character: the strip, the one seen large, the trash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from projects.models import Character, Scene, Take


@dataclass(frozen=True)
class TakeRow:
    """A take with its number: 1 for the oldest. The trash keeps its numbers."""

    take: Take
    number: int


@dataclass(frozen=True)
class Strip:
    """`numbered` are all takes, `rows` those in the strip, `trash` those that are hidden: each
    newest first. `viewed` is the one that is seen large, `beside` what it is compared with first.
    `kept` is how many are not in the trash, `starred` how many of these have a star."""

    numbered: list[TakeRow]
    rows: list[TakeRow]
    trash: list[TakeRow]
    viewed: TakeRow | None
    beside: TakeRow | None
    kept: int
    starred: int
    only_starred: bool
    is_spread: bool

    @property
    def suffix(self) -> str:
        """What an address says beside the take, so that the strip stays as it is."""
        return "&show=starred" * self.only_starred + "&spread=yes" * self.is_spread

    @property
    def look_other_way(self) -> str:
        """What an address says so that the strip is spread out, or is in one row again."""
        viewed = self.viewed.take.pk if self.viewed else ""
        starred = "&show=starred" * self.only_starred
        return f"take={viewed}{starred}" + "&spread=yes" * (not self.is_spread)

    @property
    def numbers(self) -> dict[str, int]:
        return {row.take.pk: row.number for row in self.numbered}

    def row_of(self, take_id: str) -> TakeRow | None:
        return next((row for row in self.numbered if row.take.pk == take_id), None)


def strip_of(
    subject: Scene | Character, picture: Take | None, look: Mapping[str, Any] | None = None
) -> Strip:
    """`picture` is what is shown of it everywhere. `look` is what the page's address says: `take`,
    the id of the one to be seen large; `show=starred`; `spread=yes`."""
    look = look or {}
    takes = list(subject.takes.newest_first())
    numbered = [TakeRow(take, len(takes) - place) for place, take in enumerate(takes)]
    kept = [row for row in numbered if row.take.trashed_at is None]
    starred = [row for row in kept if row.take.is_starred]
    viewed = _viewed(numbered, kept, look.get("take", ""), picture)
    return Strip(
        numbered=numbered,
        rows=starred if look.get("show") == "starred" else kept,
        trash=[row for row in numbered if row.take.trashed_at is not None],
        viewed=viewed,
        beside=_beside(kept, viewed, picture),
        kept=len(kept),
        starred=len(starred),
        only_starred=look.get("show") == "starred",
        is_spread=look.get("spread") == "yes",
    )


def _viewed(
    numbered: Sequence[TakeRow], kept: Sequence[TakeRow], wanted: str, picture: Take | None
) -> TakeRow | None:
    """Of one that went into the trash meanwhile, the one before it: so one can go through them."""
    asked = next((row for row in numbered if row.take.pk == wanted), None)
    if asked:
        older = (row for row in kept if row.number <= asked.number)
        return next(older, kept[-1] if kept else None)
    shown = (row for row in kept if picture and row.take.pk == picture.pk)
    return next(shown, kept[0] if kept else None)


def _beside(
    kept: Sequence[TakeRow], viewed: TakeRow | None, picture: Take | None
) -> TakeRow | None:
    """What the viewed one is compared with first: the one that is shown everywhere, else the one
    that came before it."""
    others = [row for row in kept if row != viewed]
    if viewed is None or not others:
        return None
    shown = (row for row in others if picture and row.take.pk == picture.pk)
    older = (row for row in others if row.number < viewed.number)
    return next(shown, None) or next(older, others[-1])
