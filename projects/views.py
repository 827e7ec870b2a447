"""My projects, their scenes and characters, the choice of a take; a person's tokens and theme."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.forms import BaseForm, ModelForm
from django.http import (
    Http404,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    QueryDict,
)
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from projects import access, choice, uploads, words
from projects.back import came_from, on_board, say_with_undo
from projects.forms import CharacterForm, ProjectForm, SceneForm, TokenForm, UploadForm
from projects.locks import changing, refuse_locked
from projects.models import ApiToken, Character, Project, Role, Scene, Take
from projects.overview import newest_pictures, with_counts
from projects.pictures import BadPicture, DecoderDown, StorageDown
from projects.request import Request
from projects.slate import touch

log = logging.getLogger(__name__)

PROJECTS_ON_A_PAGE = 24
A_YEAR = 365 * 24 * 3600


# My projects


@require_safe
@login_required
def project_list(request: Request) -> HttpResponse:
    mine = Project.objects.visible_to(request.user).select_related("owner")
    page = Paginator(with_counts(mine), PROJECTS_ON_A_PAGE).get_page(request.GET.get("page"))
    pictures = newest_pictures([project.pk for project in page])
    return render(
        request,
        "projects/list.html",
        {
            "page": page,
            "window": page.paginator.get_elided_page_range(page.number),
            "cards": [(project, pictures[project.pk]) for project in page],
            "invitations": access.invitations_to(request.user),
        },
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def project_new(request: Request) -> HttpResponse:
    form = ProjectForm(_sent(request), instance=Project(owner=request.user))
    if request.method == "POST" and form.is_valid():
        return redirect("generation:board", form.save().pk)
    return _form_page(request, "projects/project_form.html", form)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def project_delete(request: Request, project_id: str) -> HttpResponse:
    project = access.project_for(request.user, project_id, Role.OWNER)
    question = _("Delete the project “%(project)s”?") % {"project": project}
    return _delete(request, project, project, question, then=reverse("projects:list"))


# Scenes


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def scene_new(request: Request, project_id: str) -> HttpResponse:
    project = access.project_for(request.user, project_id, Role.EDITOR)
    wanted = request.GET.get("after", "")
    # Not by the database: PostgreSQL refuses a NUL in a text.
    after = next((scene for scene in project.scenes.all() if scene.pk == wanted), None)
    form = SceneForm(_sent(request), instance=Scene(project=project), after=after)
    if request.method == "POST" and _saved(form, project):
        messages.success(request, _("Scene %(number)s is on the board.") % vars(form.instance))
        if "another" in request.POST:
            new = reverse("projects:scene_new", args=[project.pk])
            return HttpResponseRedirect(f"{new}?after={form.instance.pk}")
        return _changed(request, on_board(form.instance))
    return _form_page(request, "projects/scene_form.html", form, project=project)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def scene_edit(request: Request, scene_id: str) -> HttpResponse:
    scene = access.scene_for(request.user, scene_id, Role.EDITOR)
    refuse_locked(scene)
    form = SceneForm(_sent(request), instance=scene)
    if request.method == "POST" and _saved(form, scene.project):
        return _changed(request, _page(scene))
    about = {"project": scene.project, "picture_id": _picture_id(scene)}
    return _form_page(request, "projects/scene_form.html", form, **about)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def scene_delete(request: Request, scene_id: str) -> HttpResponse:
    scene = access.scene_for(request.user, scene_id, Role.EDITOR)
    refuse_locked(scene)
    question = _("Delete scene %(scene)s?") % {"scene": scene}
    return _delete(request, scene, scene.project, question, then=_board(scene.project))


# Characters


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def character_new(request: Request, project_id: str) -> HttpResponse:
    project = access.project_for(request.user, project_id, Role.EDITOR)
    form = CharacterForm(_sent(request), instance=Character(project=project))
    if request.method == "POST" and _saved(form, project):
        return _changed(request, _board(project))
    return _form_page(request, "projects/character_form.html", form, project=project)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def character_edit(request: Request, character_id: str) -> HttpResponse:
    character = access.character_for(request.user, character_id, Role.EDITOR)
    form = CharacterForm(_sent(request), instance=character)
    if request.method == "POST" and _saved(form, character.project):
        return _changed(request, _page(character))
    about = {"project": character.project, "picture_id": _picture_id(character)}
    return _form_page(request, "projects/character_form.html", form, **about)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def character_delete(request: Request, character_id: str) -> HttpResponse:
    character = access.character_for(request.user, character_id, Role.EDITOR)
    question = _("Delete %(character)s?") % {"character": character}
    return _delete(request, character, character.project, question, then=_board(character.project))


# Takes


@require_POST
@login_required
def take_choose(request: Request, take_id: str) -> HttpResponse:
    """Shows this take for its scene or character; with `chosen=no`, the newest one again."""
    take, subject = _take_of(request, take_id)
    if request.POST.get("chosen") == "no":
        choice.unchoose(take)
    elif not choice.choose(take):
        raise Http404  # somebody else has just put it in the trash
    touch(subject.project)
    return _changed(request, _page(subject))


@require_POST
@login_required
def take_star(request: Request, take_id: str) -> HttpResponse:
    """Marks a take that somebody wants to find again; with `starred=no`, not any more."""
    take, subject = _take_of(request, take_id)
    take.is_starred = request.POST.get("starred") != "no"
    take.save(update_fields=["is_starred"])
    touch(subject.project)
    return _changed(request, _page(subject))


@require_POST
@login_required
def take_trash(request: Request, take_id: str) -> HttpResponse:
    """Hides a take. `?instead=` names the one that is shown then, if this was the chosen one."""
    take, subject = _take_of(request, take_id)
    was_chosen = choice.trash(take, instead=request.GET.get("instead", ""))
    words = _("Take %(number)d is in the trash.") % {"number": choice.number_of(take)}
    undo = reverse("projects:take_put_back", args=[take.pk])
    say_with_undo(request, words, undo, chosen="yes" if was_chosen else "no")
    touch(subject.project)
    return _changed(request, _page(subject))


@require_POST
@login_required
def take_put_back(request: Request, take_id: str) -> HttpResponse:
    """Out of the trash; with `?chosen=yes` it is also shown, as before."""
    take, subject = _take_of(request, take_id)
    choice.put_back(take, chosen=request.GET.get("chosen") == "yes")
    words = _("Take %(number)d is back.") % {"number": choice.number_of(take)}
    messages.success(request, words)
    touch(subject.project)
    return _changed(request, came_from(request, _page(subject)))


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def scene_upload(request: Request, scene_id: str) -> HttpResponse:
    return _upload(request, access.scene_for(request.user, scene_id, Role.EDITOR))


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def character_upload(request: Request, character_id: str) -> HttpResponse:
    return _upload(request, access.character_for(request.user, character_id, Role.EDITOR))


# The person's own


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def tokens(request: Request) -> HttpResponse:
    """The API tokens; a new one is shown in the answer to the form, and nowhere else ever."""
    form = TokenForm(_sent(request))
    secret = None
    if request.method == "POST" and form.is_valid():
        secret = access.issue_token(request.user, form.cleaned_data["name"])
        form = TokenForm()
    mine = ApiToken.objects.filter(user=request.user).order_by("-created_at", "-pk")
    return _form_page(request, "projects/tokens.html", form, tokens=mine, secret=secret)


@require_POST
@login_required
def token_revoke(request: Request, token_id: int) -> HttpResponse:
    token = ApiToken.objects.filter(user=request.user, pk=token_id).first()
    if token is None:
        raise Http404
    token.delete()
    messages.success(request, _("“%(name)s” is revoked.") % {"name": token.name})
    return redirect("projects:tokens")


@require_POST
def theme(request: Request) -> HttpResponse:
    """Light, dark, or as the system; for anybody, kept in a cookie."""
    response = HttpResponseRedirect(_next(request, reverse("projects:list")))
    chosen = request.POST.get("theme")
    if chosen in ("light", "dark"):
        response.set_cookie(
            "theme", chosen, A_YEAR, secure=request.is_secure(), httponly=True, samesite="Lax"
        )
    else:
        response.delete_cookie("theme", samesite="Lax")
    return response


# What these views share


def _sent(request: Request) -> QueryDict | None:
    """What a form sent, even if it is nothing at all; None for somebody who only looks."""
    return request.POST if request.method == "POST" else None


def _form_page(request: Request, template: str, form: BaseForm, **context: object) -> HttpResponse:
    """The page with its form; for htmx the form alone. 422 when the form has errors."""
    if request.htmx and not request.htmx.boosted:
        template = f"{template}#form"
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return render(request, template, {"form": form, **context}, status=status)


def _saved(form: ModelForm[Any], project: Project) -> bool:
    if not form.is_valid():
        return False
    try:
        with changing(form.instance):
            form.save()
            touch(project)
    except IntegrityError:
        # Somebody took the number between the form's check and here.
        form.add_error("number", _("Somebody has just used this number. Take another one."))
        return False
    return True


def _changed(request: Request, then: str) -> HttpResponse:
    """The scene or character has changed: the page asks for it, or is loaded again."""
    if request.htmx:
        return HttpResponse(status=HTTPStatus.NO_CONTENT, headers={"HX-Trigger": "scene-changed"})
    return HttpResponseRedirect(_next(request, then))


def _picture_id(subject: Scene | Character) -> str | None:
    """The take that is shown for it."""
    newest = subject.takes.kept().newest_first().exclude(thumbnail="").values_list("pk", flat=True)
    return subject.chosen_id or newest.first()


def _take_of(request: Request, take_id: str) -> tuple[Take, Scene | Character]:
    """A take that this person may change, and whose it is."""
    take = access.take_for(request.user, take_id, Role.EDITOR)
    subject = take.scene or take.character
    if subject is None or take.project is None:
        raise Http404
    subject.project = take.project
    return take, subject


def _upload(request: Request, subject: Scene | Character) -> HttpResponse:
    """The page, or a picture that is brought: the answer to a script says how to undo it, or why
    it was refused."""
    refuse_locked(subject)
    form = UploadForm(_sent(request), request.FILES or None)
    earlier = subject.chosen_id or ""
    if request.method == "POST" and form.is_valid():
        try:
            take = uploads.keep(form.cleaned_data["picture"], subject, request.user)
        except BadPicture as error:
            form.add_error("picture", str(error.reason))
        except (DecoderDown, StorageDown):
            log.exception("An upload for %s could not be kept", subject.pk)
            form.add_error("picture", _("The picture could not be stored just now. Try again."))
        else:
            touch(subject.project)
            undo = reverse("projects:take_trash", args=[take.pk])
            changed = _changed(request, _page(subject))
            if request.htmx:
                undo = f"{undo}?instead={earlier}"
                return JsonResponse({"undo": undo}, status=HTTPStatus.CREATED)
            words = _("The picture is in and shown. The earlier takes are kept.")
            say_with_undo(request, words, undo, instead=earlier)
            return changed
    if request.htmx and form.errors:
        words = " ".join(map(str, form.errors["picture"]))
        return JsonResponse({"refused": words}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    about = {"subject": subject, "project": subject.project, "back": _page(subject)}
    return _form_page(request, "projects/upload.html", form, **about)


def _delete(
    request: Request,
    thing: Project | Scene | Character,
    project: Project,
    question: str,
    then: str,
) -> HttpResponse:
    """Asks, then deletes, as long as nothing was ordered or made for it."""
    blocked = thing.takes.exists()
    if request.method == "POST":
        if _deleted(thing):
            touch(project)
            messages.success(request, _("Deleted."))
            return HttpResponseRedirect(then)
        blocked = True
    return render(
        request,
        "projects/delete.html",
        {
            "thing": thing,
            "project": project,
            "question": question,
            "blocked": blocked,
            "back": then,
        },
        status=HTTPStatus.CONFLICT if blocked and request.method == "POST" else HTTPStatus.OK,
    )


@transaction.atomic
def _deleted(thing: Project | Scene | Character) -> bool:
    # The lock keeps a new take out while this one looks whether there are any.
    found = type(thing)._default_manager.select_for_update().get(pk=thing.pk)
    if isinstance(found, Scene):
        refuse_locked(found)
    if isinstance(found, Character):
        refuse_locked(found.scenes.filter(is_locked=True).first())  # their cast is done
    if thing.takes.exists():
        return False
    try:
        with words.leaving(thing):
            thing.delete()
    except ProtectedError:
        return False
    return True


def _board(project: Project) -> str:
    return reverse("generation:board", args=[project.pk])


def _page(subject: Scene | Character) -> str:
    return reverse("generation:subject", args=[subject._meta.model_name, subject.pk])


def _next(request: Request, otherwise: str) -> str:
    """Where the form says to go on, if that is on this site."""
    wanted = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else otherwise
