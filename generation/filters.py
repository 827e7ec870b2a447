"""All of a project's scenes, or those that want something, and how many there are of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db.models import (
    BooleanField,
    Exists,
    ExpressionWrapper,
    OuterRef,
    Q,
    QuerySet,
    Value,
)
from django.utils.translation import gettext_lazy, ngettext

from generation.board import AT_FAULT, FAILURES, STILL_WANTED, of_newest_order
from generation.models import Generation, Operation, State
from generation.outdated import OLD, with_changes
from generation.setup import Setup
from generation.versions import digest
from projects.models import Project, Scene, Take
from projects.search import scenes_with


@dataclass(frozen=True)
class Choice:
    """A filter above the scenes: `name` stands in the address, `count` beside the words. `ready`
    are those of them that one could order a picture for, but for what only preparing tells."""

    name: str
    words: str
    count: int
    ready: int

    def total(self, setup: Setup) -> int | None:
        """Hundredths for a picture of each that is ready; None where only preparing tells."""
        each = setup.price_each
        return None if each is None else each * self.ready

    @property
    def bill_words(self) -> str:
        """What one click could do about them: "Generate 12 missing"; "" for nothing."""
        words = {
            "missing": ngettext(
                "Generate %(count)d missing", "Generate %(count)d missing", self.ready
            ),
            "failed": ngettext("Retry %(count)d failed", "Retry %(count)d failed", self.ready),
            "old": ngettext("Update %(count)d scene", "Update %(count)d scenes", self.ready),
        }.get(self.name, "")
        return words % {"count": self.ready} if words and self.ready else ""


WHICH = {
    "all": (gettext_lazy("All"), Q()),
    "missing": (gettext_lazy("Missing"), Q(has_take=False)),
    "open": (gettext_lazy("Under way"), Q(under_way=True)),
    "failed": (
        gettext_lazy("Failed"),
        Q(newest_state__in=FAILURES, newest_taken_back__in=STILL_WANTED, under_way=False),
    ),
    "old": (gettext_lazy("Out of date"), OLD),
    "unchosen": (gettext_lazy("Not chosen"), Q(has_several=True, chosen__isnull=True)),
}
READY = Q(is_locked=False, under_way=False, is_in_vain=False) & ~Q(description="")


def scenes_of(
    project: Project, which: str, words: str = "", *, sends_faces: bool = False
) -> tuple[QuerySet[Scene], list[Choice]]:
    """The scenes of one filter (a key of WHICH) in which these words are found, and how many each
    of the filters would show."""
    found = scenes_with(project, words)
    judged = _judged(sends_faces).filter(project=project)
    rows = list(judged.filter(pk__in=found.values("pk")) if words else judged)
    choices = [
        Choice(
            name,
            str(label),
            sum(bool(row[name]) for row in rows),
            sum(bool(row[name] and row["ready"]) for row in rows),
        )
        for name, (label, _q) in WHICH.items()
    ]
    if which == "all":
        return found, choices
    return found.filter(pk__in=[row["pk"] for row in rows if row[which]]), choices


@cache
def _judged(sends_faces: bool) -> QuerySet[Any, dict[str, Any]]:
    """Of every scene: which of the filters show it, and whether it is ready. Never to be asked as
    it is: it is kept because putting it together takes longer than the database does."""
    takes = Take.objects.kept().filter(scene=OuterRef("pk"))
    scenes = with_changes(Scene.objects.order_by(), sends_faces=sends_faces).annotate(
        has_take=Exists(takes),
        has_several=Exists(takes[1:2]),
        under_way=Exists(Generation.objects.awaited().filter(scene=OuterRef("pk"))),
        newest_order=of_newest_order(Scene, "pk"),
        newest_state=of_newest_order(Scene, "state"),
        newest_taken_back=of_newest_order(Scene, "taken_back"),
    )
    scenes = scenes.annotate(is_in_vain=Exists(_in_vain()))
    rules = {name: q for name, (_label, q) in WHICH.items() if q} | {"ready": READY}
    flags = {name: ExpressionWrapper(q, BooleanField()) for name, q in rules.items()}
    judged: QuerySet[Any, dict[str, Any]] = scenes.values("pk", all=Value(True), **flags)  # type: ignore[assignment]
    return judged


def counts_of(choices: Sequence[Choice], setup: Setup) -> str:
    """A version of what the filters say, and of what one click could order and who may."""
    counts = (count for choice in choices for count in (choice.count, choice.ready))
    return digest(*counts, setup.price_each, setup.budget.left)


def several_of(choices: Sequence[Choice], setup: Setup) -> list[tuple[str, str, int | None]]:
    """What one click could order: the name of the filter, in words, and what it would cost."""
    offered = [choice for choice in choices if choice.bill_words]
    return [(choice.name, choice.bill_words, choice.total(setup)) for choice in offered]


def _in_vain() -> QuerySet[Generation]:
    """A scene's newest order, where the same again would end as it did: staff look at it, or it
    failed over the description, which has not been changed since (Card.words_at_fault)."""
    at_fault = Q(
        state=State.FAILED,
        reason__in=AT_FAULT,
        operation=Operation.GENERATE,
        created_at__gt=OuterRef("updated_at"),
    )
    newest = Generation.objects.filter(pk=OuterRef("newest_order"))
    return newest.filter(at_fault | Q(state=State.REVIEW))
