"""Numbers on the slate and the order of scenes: what comes next, which follows which."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from projects import live
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
    hold(scene.project_id)
    scene.position = _room_for(scene, after)
    scene.save()


class Gone(Exception):
    """The scene that another was to stand beside is not there any more; nothing was changed."""


@dataclass(frozen=True)
class Move:
    """A scene was moved from behind `came_from` to behind `after`; None: the beginning."""

    came_from: Scene | None
    after: Scene | None

    @property
    def is_move(self) -> bool:
        return self.came_from != self.after


@transaction.atomic
def move(scene: Scene, where: str, other: Scene | None = None) -> Move:
    """Puts a scene elsewhere in the film; its number stays what it is.

    `where` is "first", "last", "earlier" or "later" (by one), or "before" or "after" the `other`.
    Nothing else of it is written: a move and an edit of two people do not meet. Raises Gone.
    """
    hold(scene.project_id)
    scene.position = Scene.objects.values_list("position", flat=True).get(pk=scene.pk)
    came_from = predecessor(scene)
    done = Move(came_from, _aim(scene, came_from, where, other))
    if done.is_move:
        position = _room_for(scene, done.after)
        Scene.objects.filter(pk=scene.pk).update(position=position)
    return done


def hold(project_id: str) -> None:
    """Two people who change a project's scenes at once wait for each other here (SQLite: at the
    beginning of the transaction)."""
    Project.objects.select_for_update(no_key=True).get(pk=project_id)


def predecessor(scene: Scene) -> Scene | None:
    return Scene.objects.filter(project=scene.project_id).filter(ahead_of(scene)).last()


def touch(project: Project) -> None:
    """The project was worked on: it comes first among its owner's projects, and its open pages
    look for what has changed."""
    Project.objects.filter(pk=project.pk).update(updated_at=timezone.now())
    live.tell(live.of_project(project.pk), live.EVERYTHING)


def _aim(scene: Scene, came_from: Scene | None, where: str, other: Scene | None) -> Scene | None:
    """The scene to be put behind; None: it is to be the first."""
    rest = Scene.objects.filter(project=scene.project_id).exclude(pk=scene.pk)
    if where == "first":
        return None
    if where == "last":
        return rest.last()
    if where == "earlier":
        return predecessor(came_from) if came_from else None
    if where == "later":
        return _follower(scene) or came_from
    found = rest.filter(pk=other.pk).first() if other else None
    if found is None:
        raise Gone
    return found if where == "after" else rest.filter(ahead_of(found)).last()


def _room_for(scene: Scene, after: Scene | None) -> int:
    """The position right behind `after`, or of the first; nobody else has it. Within `hold`."""
    others = Scene.objects.filter(project=scene.project_id).exclude(pk=scene.pk)
    before = None if after is None else others.filter(pk=after.pk).first()
    # By two, so that a scene which shares the position of `after` stays behind this one.
    (others if before is None else others.filter(_behind(before))).update(
        position=F("position") + 2
    )
    return 1 if before is None else before.position + 1


def _follower(scene: Scene) -> Scene | None:
    return Scene.objects.filter(project=scene.project_id).filter(_behind(scene)).first()


def ahead_of(scene: Scene) -> Q:
    """Those that stand before it in the film."""
    return Q(position__lt=scene.position) | Q(position=scene.position, pk__lt=scene.pk)


def _behind(scene: Scene) -> Q:
    return Q(position__gt=scene.position) | Q(position=scene.position, pk__gt=scene.pk)


def _leading(number: str) -> int:
    digits = re.match(r"[0-9]*", number)
    return int(digits[0]) if digits and digits[0] else 0
