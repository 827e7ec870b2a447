"""A project's settings: its name and style, and how its pictures are made."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.forms import ModelForm
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from generation import breaker
from generation.forms import ImageSettingsForm
from generation.models import ImageSettings
from generation.replacement import replacement_for
from projects import access
from projects.back import came_from
from projects.forms import ProjectForm
from projects.models import Project, Role
from projects.request import Request
from projects.slate import touch


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def settings(request: Request, project_id: str) -> HttpResponse:
    """Owner and editors change them, viewers look.

    A GET with values (`?model=…`) shows the form with them, as a POST with `show` does: nothing is
    saved. For htmx that is the part of the form which depends on the model.
    """
    project = access.project_for(request.user, project_id)
    name = project.name  # the form writes into its project before it is known to be right
    saves = request.method == "POST"
    role = access.require(request.user, project, Role.EDITOR if saves else Role.VIEWER)
    own = ImageSettings.objects.filter(project=project).first() or ImageSettings(project=project)
    if saves and "show" not in request.POST:
        words = ProjectForm(request.POST, instance=project)
        image = ImageSettingsForm(request.POST, instance=own)
        if words.is_valid() & image.is_valid():
            return _save(request, project, words, image)
    else:
        tried = request.POST if saves else request.GET
        words = ProjectForm(instance=project, initial=_told(ProjectForm, tried))
        image = ImageSettingsForm(instance=own, initial=_told(ImageSettingsForm, tried))
    words.fields["name"].widget.attrs.pop("autofocus", None)
    return render(
        request,
        "generation/settings.html#options" if request.htmx else "generation/settings.html",
        {
            "project": project,
            "name": name,
            "may_edit": role >= Role.EDITOR,
            "is_owner": role == Role.OWNER,
            "words": words,
            "form": image,
            "replacement": replacement_for(project),
            "in_trouble": list(breaker.tripped().values_list("model__model_id", flat=True)),
            "members": project.members.select_related("user").order_by("-role", "user__username"),
        },
        status=HTTPStatus.UNPROCESSABLE_ENTITY if words.errors or image.errors else HTTPStatus.OK,
    )


@require_POST
@login_required
def use_replacement(request: Request, project_id: str) -> HttpResponse:
    """The model that takes the place of one that was switched off, for this project."""
    project = access.project_for(request.user, project_id, Role.EDITOR)
    offered = replacement_for(project)
    new = offered.new if offered else None
    if offered and offered.form and new and request.POST.get("model") == new.model_id:
        with transaction.atomic():
            offered.form.save()
            touch(project)
        messages.success(request, _("%(model)s makes the pictures from now on.") % {"model": new})
    else:
        messages.error(request, _("Something else is offered by now. Nothing was changed."))
    return redirect(came_from(request, reverse("generation:board", args=[project.pk])))


def _save(
    request: Request, project: Project, words: ProjectForm, image: ImageSettingsForm
) -> HttpResponse:
    with transaction.atomic():
        words.save()
        image.save()
        touch(project)
    messages.success(request, _("The settings are saved."))
    return redirect("generation:board", project.pk)


def _told(form: type[ModelForm[Any]], values: QueryDict) -> dict[str, Any]:
    """Those fields of a form that a request names."""
    return {name: values[name] for name in form._meta.fields or () if name in values}
