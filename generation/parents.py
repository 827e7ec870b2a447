"""Where a take comes from: the take that it was made from, and that one's number, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from generation.models import Generation, Operation
from projects.models import Character, Scene, Take

MADE = {
    Operation.EDIT: gettext_lazy("Edited from take %(number)d"),
    Operation.REFRAME: gettext_lazy("Reframed from take %(number)d"),
    Operation.UPSCALE: gettext_lazy("Upscaled from take %(number)d"),
    Operation.CUT_OUT: gettext_lazy("Cut out of take %(number)d"),
    Operation.LAYERS: gettext_lazy("A layer of take %(number)d"),
    Operation.SEGMENT: gettext_lazy("A map of take %(number)d"),
}


@dataclass(frozen=True)
class Parent:
    """The take that an order worked on; `words` say what was done with it, `url` shows it."""

    take: Take
    words: str
    url: str


def numbers_of(subject: Scene | Character) -> dict[str, int]:
    """The numbers of its takes by their ids: 1 for the oldest."""
    newest_first = list(subject.takes.newest_first().values_list("pk", flat=True))
    return {take_id: number for number, take_id in enumerate(reversed(newest_first), 1)}


def parent_of(order: Generation, numbers: Mapping[str, int]) -> Parent | None:
    """`numbers` are those of the takes of the order's own scene or character."""
    take = order.source
    if take is None:
        return None
    number = numbers.get(take.pk)
    subject = take.scene or take.character
    if number is not None:
        words = MADE[Operation(order.operation)] % {"number": number}
    else:
        words = _("From another picture: %(subject)s") % {"subject": subject or "–"}
    if subject is None or take.trashed_at:
        return Parent(take, words, reverse("generation:receipt", args=[take.pk]))
    page = reverse("generation:subject", args=[subject._meta.model_name, subject.pk])
    return Parent(take, words, f"{page}?take={take.pk}")
