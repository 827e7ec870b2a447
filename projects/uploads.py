"""A picture that a person brings along, as a take of a scene or a character."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from django.core.files.uploadedfile import UploadedFile

from projects import pictures
from projects.ids import new_id
from projects.models import Character, Scene, Take

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def keep(file: UploadedFile[bytes], subject: Scene | Character, user: User) -> Take:
    """Checks and stores the file, and shows it: who brings a picture wants to see it.

    Raises BadPicture, or DecoderDown or StorageDown when it can be tried again.
    """
    if (file.size or 0) > pictures.MAX_BYTES:
        raise pictures.BadPicture("too_many_bytes")
    picture = pictures.check(file.read())
    take_id = new_id()
    stored = pictures.store(picture, take_id)
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
