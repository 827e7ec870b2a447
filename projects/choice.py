"""Which take of a scene or character is shown: the one that was chosen, and what is in the trash.

The trash only hides. While nothing is chosen, the newest take outside of it is shown. All of this
raises Locked for a scene that is locked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.models import Q
from django.utils import timezone

from projects.locks import changing
from projects.models import Character, Scene, Take, TakeQuerySet
from projects.words import showing


def number_of(take: Take) -> int:
    """Its number among all the takes of its scene or character, those in the trash too: 1 for the
    oldest."""
    older = Q(created_at__lt=take.created_at) | Q(created_at=take.created_at, pk__lte=take.pk)
    return _of_the_same(take).filter(older).count()


def choose(take: Take) -> bool:
    """False, and nothing changes, for one that is in the trash."""
    with _held(take) as subject:
        if not Take.objects.kept().filter(pk=take.pk).exists():
            return False
        _show(subject, take)
    return True


def unchoose(take: Take) -> None:
    """The newest is shown again, if it was this one that was chosen."""
    with _held(take) as subject:
        if subject.chosen_id == take.pk:
            _show(subject, None)


def trash(take: Take, instead: str = "") -> bool:
    """Whether it was chosen: then it is no longer, and the take with the id `instead` is, if that
    is another one that is not in the trash."""
    with _held(take) as subject:
        take.trashed_at = take.trashed_at or timezone.now()
        take.save(update_fields=["trashed_at"])
        was_chosen: bool = subject.chosen_id == take.pk
        if was_chosen:
            _show(subject, _of_the_same(take).kept().filter(pk=instead).first())
    return was_chosen


def put_back(take: Take, chosen: bool) -> None:
    """Out of the trash; `chosen`: and shown, as it was before."""
    with _held(take) as subject:
        take.trashed_at = None
        take.save(update_fields=["trashed_at"])
        if chosen:
            _show(subject, take)


@contextmanager
def _held(take: Take) -> Iterator[Scene | Character]:
    """Its scene or character, which nobody else changes meanwhile."""
    subject = take.scene or take.character
    assert subject is not None  # noqa: S101
    with changing(subject) as held, showing(take.character_id):
        yield held


def _show(subject: Scene | Character, take: Take | None) -> None:
    subject.chosen = take
    # Not `updated_at`: the words that pictures are made from did not change.
    subject.save(update_fields=["chosen"])


def _of_the_same(take: Take) -> TakeQuerySet:
    return Take.objects.filter(scene=take.scene_id, character=take.character_id)
