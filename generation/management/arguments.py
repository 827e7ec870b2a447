"""Projects and people, as somebody names them to a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from projects.models import Project

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def project_named(name: str) -> Project:
    """The project with this id, or with exactly this name."""
    found = Project.objects.filter(pk=name) or Project.objects.filter(name=name)
    if len(found) > 1:
        ids = ", ".join(project.pk for project in found)
        raise CommandError(f"Several projects are called {name!r}; name one by its id: {ids}")
    if not found:
        raise CommandError(f"There is no project {name!r}.")
    return found[0]


def user_named(name: str) -> User:
    user: User | None = get_user_model().objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user {name!r}.")
    return user
