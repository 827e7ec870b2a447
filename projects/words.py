"""What pictures are made from, and when it changed: a picture older than that is out of date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from django.utils import timezone

from projects.models import Character, Project, Scene


def differ(one: str, other: str) -> bool:
    """A browser ends its lines otherwise than a program: that alone is no change."""
    return one.strip().splitlines() != other.strip().splitlines()


@contextmanager
def showing(character_id: str | None) -> Iterator[None]:
    """Around whatever may bring another picture of a character to be shown: it goes along with the
    orders of its scenes. None: it is about no character."""
    with transaction.atomic():
        before = _shown(character_id)
        yield
        if _shown(character_id) != before:
            Character.objects.filter(pk=character_id).update(picture_changed_at=timezone.now())


@contextmanager
def leaving(subject: Project | Scene | Character) -> Iterator[None]:
    """Around its deletion: a character leaves its scenes."""
    cast_in = subject.scenes.all() if isinstance(subject, Character) else Scene.objects.none()
    scenes = list(cast_in.values_list("pk", flat=True))
    yield
    Scene.objects.filter(pk__in=scenes).update(words_changed_at=timezone.now())


def _shown(character_id: str | None) -> str | None:
    if character_id is None:
        return None
    character = Character.objects.with_picture().filter(pk=character_id).first()
    return getattr(character, "picture_id", None)
