"""Scenes that are done: while one is locked, nothing is changed in it and nothing ordered for it.

Its place in the film may change. An order that was under way when it was locked goes on, since it
is paid for; its take is kept with the others, and what is shown stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from django.contrib import messages
from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from projects.models import Character, Scene, Take
from projects.slate import hold


class Locked(Exception):
    """Nothing was changed, because this scene is locked. `words` are for whoever tried."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.pk)
        self.scene = scene

    @property
    def words(self) -> str:
        told = {"number": self.scene.number}
        return _("Scene %(number)s is locked. Unlock it first; nothing was changed.") % told


def set_locked(scenes: QuerySet[Scene], locked: bool) -> int:
    """Locks or unlocks all of them; how many were not before.

    Locking chooses the picture that is shown, so that no later take changes it.
    """
    others = scenes.exclude(is_locked=locked)
    if not locked:
        return others.update(is_locked=False)
    newest = Take.objects.kept().filter(scene=OuterRef("pk")).newest_first().values("pk")[:1]
    return others.update(is_locked=True, chosen_id=Coalesce("chosen_id", Subquery(newest)))


def refuse_locked(subject: Scene | Character | None) -> None:
    """Raises Locked for a scene that is locked."""
    if isinstance(subject, Scene) and subject.is_locked:
        raise Locked(subject)


@contextmanager
def changing(subject: Scene | Character) -> Iterator[Scene | Character]:
    """A transaction in which what it is made of may change: its words, cast, takes, the choice.

    Nobody else changes or locks it meanwhile; the row is handed over as it is now. Raises Locked.
    """
    with transaction.atomic():
        if subject._state.adding:
            yield subject
            return
        if isinstance(subject, Scene):
            hold(subject.project_id)
        rows = type(subject)._default_manager.select_for_update(no_key=True)
        held = rows.filter(pk=subject.pk).first() or subject
        refuse_locked(held)
        yield held


class Refusal:
    """Middleware: whoever changes a locked scene is told why nothing happened, where they are."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, Locked):
            return None
        if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
            return JsonResponse({"refused": error.words}, status=HTTPStatus.CONFLICT)
        messages.error(request, error.words)
        if not request.headers.get("HX-Request"):
            page = reverse("generation:subject", args=["scene", error.scene.pk])
            return HttpResponseRedirect(page)
        status = HTTPStatus.CONFLICT
        answer = render(request, "parts/messages.html", {"oob": True}, status=status)
        answer["HX-Reswap"] = "none"
        answer["HX-Trigger"] = "scene-changed"
        return answer
