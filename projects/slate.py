"""Numbers on the slate and the order of scenes: what comes next, which follows which."""

from __future__ import annotations

import re

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from projects.models import Project, Scene

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def written(number: str) -> str:
    """A number as the slate shows it: " 12a " is "12A"."""
    return "".join(number.split()).upper()


def next_number(project: Project, after: Scene | None = None) -> str:
    """A free number: one more than the highest, or 12A for a scene put between 12 and 13."""
    taken = set(project.scenes.values_list("number", flat=True))
    if after is not None and _follower(after) is not None:
        stem = re.sub(r"(?<=\d)[A-Z]$", "", after.number)
        inserted = (f"{stem}{letter}" for letter in LETTERS)
        free = next((number for number in inserted if number not in taken), None)
        if free is not None and len(free) <= 12:
            return free
    return str(max((_leading(number) for number in taken), default=0) + 1)


@transaction.atomic
def place(scene: Scene, after: Scene | None) -> None:
    """Saves the scene right behind `after`, or first of all."""
    # Two people who add scenes at once wait for each other here (SQLite: the transaction itself).
    Project.objects.select_for_update().get(pk=scene.project_id)
    others = Scene.objects.filter(project=scene.project_id).exclude(pk=scene.pk)
    before = None if after is None else others.filter(pk=after.pk).first()
    # By two, so that a scene which shares the position of `after` stays behind the new one.
    (others if before is None else others.filter(_behind(before))).update(
        position=F("position") + 2
    )
    scene.position = 1 if before is None else before.position + 1
    scene.save()


def predecessor(scene: Scene) -> Scene | None:
    return (
        Scene.objects.filter(project=scene.project_id)
        .filter(Q(position__lt=scene.position) | Q(position=scene.position, pk__lt=scene.pk))
        .last()
    )


def touch(project: Project) -> None:
    """The project was worked on: it comes first among its owner's projects."""
    Project.objects.filter(pk=project.pk).update(updated_at=timezone.now())


def _follower(scene: Scene) -> Scene | None:
    return Scene.objects.filter(project=scene.project_id).filter(_behind(scene)).first()


def _behind(scene: Scene) -> Q:
    return Q(position__gt=scene.position) | Q(position=scene.position, pk__gt=scene.pk)


def _leading(number: str) -> int:
    digits = re.match(r"[0-9]*", number)
    return int(digits[0]) if digits and digits[0] else 0
