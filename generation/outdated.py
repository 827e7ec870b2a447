"""Which pictures show words that have been changed since, and what changed.

A picture stays usable, and nothing is ordered by itself. What a person brought along is never out
of date.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import (
    Case,
    DateTimeField,
    F,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    When,
)
from django.db.models.functions import Coalesce, Greatest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from projects.cast import CastMember
from projects.models import Character, Scene, Take

OLD = Q(shows_as_of__lt=F("changed_at"))  # of scenes `with_changes`


def with_changes(scenes: QuerySet[Scene], *, sends_faces: bool) -> QuerySet[Scene]:
    """Adds `shows_as_of`, when the words of the picture that is shown were read (None: it is not
    made from any), and `changed_at`, when those of now were written.

    `sends_faces`: the pictures of the cast go along with an order.
    """
    newest = Take.objects.kept().filter(scene=OuterRef("pk")).newest_first().values("as_of")[:1]
    moments = ["words_changed_at", *(["picture_changed_at"] if sends_faces else [])]
    latest = Greatest(*moments) if sends_faces else F(moments[0])
    faces = Character.objects.filter(scenes=OuterRef("pk")).order_by().values("scenes")
    changes = Subquery(faces.annotate(at=Max(latest)).values("at"), output_field=DateTimeField())
    return scenes.annotate(
        shows_as_of=Case(
            When(chosen__isnull=False, then=F("chosen__as_of")),
            default=Subquery(newest),
            output_field=DateTimeField(),
        ),
        changed_at=Greatest(
            F("words_changed_at"),
            # SQLite's greatest of something and NULL is NULL.
            Coalesce(changes, F("words_changed_at")),
            F("project__style_changed_at"),
        ),
    )


def changes_since(
    take: Take | None,
    subject: Scene | Character,
    cast: Sequence[CastMember] = (),
    *,
    sends_faces: bool = False,
) -> list[str]:
    """What changed since the words of this picture were read, in words; nothing for one that is up
    to date."""
    if take is None or take.as_of is None:
        return []
    since, told = take.as_of, []
    if subject.project.style_changed_at > since:
        told.append(_("The style of the project changed since."))
    if subject.words_changed_at > since:
        is_scene = isinstance(subject, Scene)
        told.append(
            _("The scene changed since.") if is_scene else _("The description changed since.")
        )
    names = [m.character.name for m in cast if _changed_at(m.character, sends_faces) > since]
    if names:
        words = ngettext("%(names)s changed since.", "%(names)s changed since.", len(names))
        told.append(words % {"names": ", ".join(names)})
    return told


def _changed_at(character: Character, sends_faces: bool) -> datetime:
    words, picture = character.words_changed_at, character.picture_changed_at
    return max(words, picture) if sends_faces else words
