"""A picture that a person brings along, as a take of a scene or a character, or of none."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

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
    take = _take(
        _checked(file),
        project=subject.project,
        scene=subject if isinstance(subject, Scene) else None,
        character=subject if isinstance(subject, Character) else None,
        made_by=user,
    )
    subject.chosen = take
    subject.save(update_fields=["chosen"])
    return take


def keep_alone(file: UploadedFile[bytes], user: User) -> Take:
    """A picture that belongs to no project; one that the same person brought before is found again.

    Raises as `keep` does.
    """
    picture = _checked(file)
    own = Take.objects.filter(project=None, made_by=user, sha256=picture.sha256).exclude(image="")
    return own.first() or _take(picture, made_by=user)


def _checked(file: UploadedFile[bytes]) -> pictures.Picture:
    if (file.size or 0) > pictures.MAX_BYTES:
        raise pictures.BadPicture("too_many_bytes")
    return pictures.check(file.read())


def _take(picture: pictures.Picture, **whose: Any) -> Take:
    take_id = new_id()
    stored = pictures.store(picture, take_id)
    return Take.objects.create(id=take_id, **asdict(stored), **whose)
