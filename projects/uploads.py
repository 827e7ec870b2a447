"""A picture that a person brings along: a take of a scene or a character, or one kept aside."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING

from django.core.files.uploadedfile import UploadedFile

from projects import pictures
from projects.ids import new_id
from projects.locks import changing
from projects.models import Character, Project, Scene, Take
from projects.pictures import Picture
from projects.words import showing

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def checked(file: UploadedFile[bytes]) -> Picture:
    """Raises BadPicture, or DecoderDown when it can be tried again."""
    if (file.size or 0) > pictures.MAX_BYTES:
        raise pictures.BadPicture("too_many_bytes")
    return pictures.check(file.read())


def keep(file: UploadedFile[bytes], subject: Scene | Character, user: User) -> Take:
    """Checks and stores the file, and shows it: who brings a picture wants to see it.

    Raises BadPicture, Locked, or DecoderDown or StorageDown when it can be tried again.
    """
    picture = checked(file)
    take_id = new_id()
    stored = pictures.store(picture, take_id)
    with changing(subject), showing(subject.pk if isinstance(subject, Character) else None):
        take = Take.objects.create(
            id=take_id,
            project=subject.project,
            scene=subject if isinstance(subject, Scene) else None,
            character=subject if isinstance(subject, Character) else None,
            made_by=user,
            **asdict(stored),
        )
        subject.chosen = take
        subject.save(update_fields=["chosen"])
    return take


def keep_aside(picture: Picture, project: Project | None, user: User) -> Take:
    """Stores a picture to be used in an order: for the project alone, or for none, then the user's.

    The same one again is the same take: a form that is sent twice brings its file twice, and both
    have to be one order. Raises StorageDown.
    """
    whose = project.pk if project else f"user {user.pk}"
    take_id = hashlib.sha256(f"{whose} {picture.sha256}".encode()).hexdigest()[:32]
    if before := Take.objects.filter(pk=take_id).first():
        return before
    stored = pictures.store(picture, take_id)
    values = {"project": project, "made_by": user, **asdict(stored)}
    return Take.objects.get_or_create(pk=take_id, defaults=values)[0]
