"""Who appears in a scene, and the pictures by which they are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from projects.models import Character, Scene, Take


@dataclass(frozen=True)
class CastMember:
    """`picture` is the one that is shown: chosen, else the newest; None before the first."""

    character: Character
    picture: Take | None


def cast_of(scene: Scene) -> tuple[CastMember, ...]:
    people = list(Character.objects.with_picture().filter(scenes=scene))
    return members(people, pictures_of(people))


def members(people: Iterable[Character], pictures: Mapping[str, Take]) -> tuple[CastMember, ...]:
    """Of characters `with_picture`; `pictures` are their takes by id."""
    return tuple(CastMember(person, pictures.get(_picture_id(person))) for person in people)


def pictures_of(people: Iterable[Character]) -> dict[str, Take]:
    return Take.objects.in_bulk([_picture_id(person) for person in people])


def _picture_id(person: Character) -> str:
    """What `with_picture` found; "" for none."""
    return getattr(person, "picture_id", None) or ""
