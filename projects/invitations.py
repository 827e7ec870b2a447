"""The page of an invitation: whoever holds its link, or has its address, accepts or declines it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from projects import access
from projects.members import NotAccepted, accept

if TYPE_CHECKING:
    from projects.models import Invitation
    from projects.request import Request


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def invitation(request: Request, key: str) -> HttpResponse:
    """`key` is the token of a link, or the id of an invitation to an address of this person."""
    try:
        found = access.invitation_for(request.user, key)
    except Http404:
        return _gone(request)
    if access.role_in(request.user, found.project):
        if found.accepted_by_id != request.user.pk:
            messages.info(request, _("You are in this project already."))
        return redirect("generation:board", found.project_id)
    if request.method != "POST":
        context = {"invitation": found, "project": found.project}
        return render(request, "projects/invitation.html", context)
    answer = request.POST.get("do")
    if answer == "accept":
        return _accept(request, found)
    if answer != "decline":
        return HttpResponseBadRequest(_("This button is broken. Reload the page."))
    found.delete()
    messages.success(request, _("Declined."))
    return redirect("projects:list")


def _accept(request: Request, found: Invitation) -> HttpResponse:
    try:
        accept(found, request.user)
    except NotAccepted:
        return _gone(request)
    messages.success(request, _("Welcome to “%(project)s”.") % {"project": found.project})
    return redirect("generation:board", found.project_id)


def _gone(request: Request) -> HttpResponse:
    """The same for one that never was, has been used, was taken back, or is too old."""
    return render(request, "projects/invitation_gone.html", status=HTTPStatus.NOT_FOUND)
