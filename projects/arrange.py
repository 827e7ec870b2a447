"""The order of the scenes, and their locks: what a person changes of a scene but not in it."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from projects import access
from projects.back import at_place, came_from, on_board, say_with_undo
from projects.forms import MoveForm
from projects.locks import set_locked
from projects.models import Role, Scene
from projects.request import Request
from projects.slate import Gone, Move, move, touch


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def scene_move(request: Request, scene_id: str) -> HttpResponse:
    """Puts a scene elsewhere in the film. The fields may stand in the address, too: for "Undo".

    With `drawn` the page shows the new order already.
    """
    scene = access.scene_for(request.user, scene_id, Role.EDITOR)
    if request.method != "POST":
        return _page(request, scene, MoveForm(scene, initial={"where": "after"}))
    form = MoveForm(scene, request.GET.dict() | request.POST.dict())
    if not form.is_valid():
        return _not_moved(request, scene, form)
    try:
        done = move(scene, form.cleaned_data["where"], form.cleaned_data["other"])
    except Gone:
        form.add_error("other", _("This scene is not there any more."))
        return _not_moved(request, scene, form)
    _say(request, scene, done)
    if done.is_move:
        touch(scene.project)
    return _answer(request, scene, redraw="drawn" not in request.POST)


@require_POST
@login_required
def scene_lock(request: Request, scene_id: str) -> HttpResponse:
    """Locks a scene; with `locked=no`, also in the address, unlocks it."""
    scene = access.scene_for(request.user, scene_id, Role.EDITOR)
    locked = (request.POST.get("locked") or request.GET.get("locked")) != "no"
    if set_locked(scene.project.scenes.filter(pk=scene.pk), locked):
        touch(scene.project)
        words = (
            _("Scene %(number)s is locked: nothing about it is changed or ordered.")
            if locked
            else _("Scene %(number)s is unlocked.")
        )
        back = "no" if locked else "yes"
        say_with_undo(request, words % {"number": scene.number}, request.path, locked=back)
    if request.htmx:
        return HttpResponse(status=HTTPStatus.NO_CONTENT, headers={"HX-Trigger": "scene-changed"})
    return _back(request, scene)


@require_POST
@login_required
def scenes_lock(request: Request, project_id: str) -> HttpResponse:
    """Locks the scenes that are named; with `locked=no` they can be changed again."""
    project = access.project_for(request.user, project_id, Role.EDITOR)
    scenes = access.scenes_in(project, request.POST.getlist("scene"))
    locked = request.POST.get("locked") != "no"
    changed = set_locked(scenes, locked)
    if changed:
        touch(project)
    if locked:
        words = ngettext("%(count)d scene is locked.", "%(count)d scenes are locked.", changed)
    else:
        words = ngettext("%(count)d scene is unlocked.", "%(count)d scenes are unlocked.", changed)
    messages.success(request, words % {"count": changed})
    board = reverse("generation:board", args=[project.pk])
    return HttpResponseRedirect(came_from(request, board))


def _say(request: Request, scene: Scene, done: Move) -> None:
    told = {"number": scene.number, "after": done.after.number if done.after else ""}
    if not done.is_move:
        messages.info(request, _("Scene %(number)s stands there already.") % told)
        return
    if done.after:
        words = _("Scene %(number)s moved: it comes after scene %(after)s now.")
    else:
        words = _("Scene %(number)s moved: it is the first now.")
    before = done.came_from
    back = {"where": "after", "other": before.number} if before else {"where": "first"}
    say_with_undo(request, words % told, request.path, **back)


def _not_moved(request: Request, scene: Scene, form: MoveForm) -> HttpResponse:
    if not request.htmx:
        return _page(request, scene, form)
    for errors in form.errors.values():
        messages.error(request, str(errors[0]))
    return _answer(request, scene, status=HTTPStatus.UNPROCESSABLE_ENTITY)


def _page(request: Request, scene: Scene, form: MoveForm) -> HttpResponse:
    context = {"form": form, "scene": scene, "project": scene.project}
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return render(request, "projects/move.html", context, status=status)


def _answer(
    request: Request, scene: Scene, *, redraw: bool = True, status: int = HTTPStatus.OK
) -> HttpResponse:
    """The message, and the board's scenes fetch themselves; without script, the board."""
    if not request.htmx:
        return _back(request, scene)
    answer = render(request, "parts/messages.html", {"oob": True}, status=status)
    answer["HX-Reswap"] = "none"
    if redraw:
        answer["HX-Trigger"] = "scenes-moved"
    return answer


def _back(request: Request, scene: Scene) -> HttpResponse:
    """To the page that the button stands on; from the page of a move, to the scene on the board."""
    page = came_from(request, "")
    if not page or request.path in page:
        return HttpResponseRedirect(on_board(scene))
    return HttpResponseRedirect(at_place(page, f"scene-{scene.pk}"))
