"""Finding scenes by words in their numbers, titles, descriptions and the names of their cast."""

from __future__ import annotations

import re
from collections import defaultdict
from unicodedata import normalize

from django.db.models import QuerySet

from projects.models import Project, Scene

MARKS = re.compile("[\u0300-\u036f]")  # what NFD takes off a letter: Š is S and a caron
LONGEST = 200  # characters; nobody types more


def scenes_with(project: Project, words: str) -> QuerySet[Scene]:
    """The project's scenes that have all of the words; without words, all of them.

    Case and accents do not count: "saman" finds "Šaman". The texts are read and compared here:
    SQLite knows only the case of ASCII, and PostgreSQL's depends on its locale. A thousand scenes
    take some hundredths of a second, and nothing that is kept beside them can go stale.
    """
    if len(words) > LONGEST:
        return project.scenes.none()
    wanted = set(plain(words).split())
    return project.scenes.filter(pk__in=_found(project, wanted)) if wanted else project.scenes.all()


def plain(text: str) -> str:
    """Without case and accents."""
    if text.isascii():
        return text.lower()
    return MARKS.sub("", normalize("NFD", text.casefold()))


def _found(project: Project, wanted: set[str]) -> list[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for scene_id, name in project.scenes.order_by().values_list("pk", "cast__name"):
        names[scene_id].append(name or "")
    texts = project.scenes.order_by().values_list("pk", "number", "title", "description")
    return [pk for pk, *own in texts if _has(plain("\n".join([*own, *names[pk]])), wanted)]


def _has(text: str, wanted: set[str]) -> bool:
    return all(word in text for word in wanted)
