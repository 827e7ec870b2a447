"""Who works on a project: invited, changed and removed by its owner; a member may leave."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from smtplib import SMTPException

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.core.mail import send_mail
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from generation.allowance import Budget, spent_by
from generation.sharing_forms import InviteForm, SeatForm
from projects import access, live
from projects.members import invite
from projects.models import Invitation, Member, Project, Role
from projects.request import Request

log = logging.getLogger(__name__)

INVITATIONS_AN_HOUR = 30  # by one person: each is a mail to somebody who did not ask for it
HOUR = 3600


@dataclass(frozen=True)
class Person:
    """A member as this page shows them; `form` is for the owner alone."""

    member: Member
    budget: Budget
    form: SeatForm | None


@dataclass(frozen=True)
class Invited:
    """`again` holds the fields that make a new link for the same invitation."""

    invitation: Invitation
    again: InviteForm


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def members(request: Request, project_id: str) -> HttpResponse:
    """A POST of the owner invites; the answer shows the link, and nothing else ever does."""
    if request.method != "POST":
        return _page(request, access.project_for(request.user, project_id))
    project = access.project_for(request.user, project_id, Role.OWNER)
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _page(request, project, inviting=form)
    if not _may_invite(request):
        form.add_error(None, _("That was a lot of invitations. Go on in an hour."))
        return _page(request, project, inviting=form)
    data = form.cleaned_data
    token = invite(project, data["email"], data["role"], data["allowance"])
    link = _link(request, token)
    _send(request, project, data["email"], link)
    return _page(request, project, link=link, invited=data["email"])


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def change(request: Request, project_id: str, member_id: int) -> HttpResponse:
    """A refused change stands at this address, which may be asked for again."""
    project = access.project_for(request.user, project_id, Role.OWNER)
    if request.method != "POST":
        return redirect("generation:members", project.pk)
    member = _member(project, member_id)
    form = SeatForm(request.POST, prefix=_prefix(member))
    if not form.is_valid():
        return _page(request, project, changing=(member, form))
    member.role = form.cleaned_data["role"]
    member.allowance = form.cleaned_data["allowance"]
    member.save(update_fields=["role", "allowance"])
    live.tell(live.of_user(member.user_id), live.EVERYTHING)
    messages.success(request, _("Saved for %(name)s.") % {"name": member.user.username})
    return redirect("generation:members", project.pk)


@require_POST
@login_required
def remove(request: Request, project_id: str, member_id: int) -> HttpResponse:
    """What they made and ordered stays."""
    project = access.project_for(request.user, project_id, Role.OWNER)
    member = _member(project, member_id)
    member.delete()
    live.removed(member.user)
    words = _("%(name)s is not in this project any more. Their pictures stay.")
    messages.success(request, words % {"name": member.user.username})
    return redirect("generation:members", project.pk)


@require_POST
@login_required
def leave(request: Request, project_id: str) -> HttpResponse:
    project = access.project_for(request.user, project_id)
    left, _rows = Member.objects.filter(project=project, user=request.user).delete()
    if not left:
        messages.info(request, _("It is your project: you can delete it, but not leave it."))
        return redirect("generation:members", project.pk)
    live.removed(request.user)
    messages.success(request, _("You have left “%(project)s”.") % {"project": project})
    return redirect("projects:list")


@require_POST
@login_required
def take_back(request: Request, project_id: str, invitation_id: int) -> HttpResponse:
    project = access.project_for(request.user, project_id, Role.OWNER)
    gone, _rows = project.invitations.filter(pk=invitation_id, accepted_by=None).delete()
    if gone:
        messages.success(request, _("The invitation is taken back: its link leads nowhere now."))
    else:
        messages.info(request, _("It was accepted or taken back already."))
    return redirect("generation:members", project.pk)


def _page(
    request: Request,
    project: Project,
    *,
    inviting: InviteForm | None = None,
    changing: tuple[Member, SeatForm] | None = None,
    link: str = "",
    invited: str = "",
) -> HttpResponse:
    is_owner = project.owner_id == request.user.pk
    rows = project.members.select_related("user").order_by("-role", "user__username")
    spent = spent_by(project)
    wrong = inviting or changing
    return render(
        request,
        "generation/members.html",
        {
            "project": project,
            "is_owner": is_owner,
            "people": [_person(row, spent, is_owner, changing) for row in rows],
            "owner_spent": spent.get(project.owner_id, 0),
            "invitations": _invited(project) if is_owner else (),
            "inviting": inviting or InviteForm(),
            "changing": changing[0] if changing else None,
            "link": link,
            "invited": invited,
        },
        status=HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK,
    )


def _person(
    member: Member,
    spent: dict[int, int],
    is_owner: bool,
    changing: tuple[Member, SeatForm] | None,
) -> Person:
    budget = Budget(member, spent.get(member.user_id, 0))
    if changing and changing[0] == member:
        return Person(member, budget, changing[1])
    form = SeatForm(initial=SeatForm.values_of(member), prefix=_prefix(member))
    return Person(member, budget, form if is_owner else None)


def _invited(project: Project) -> list[Invited]:
    waiting = project.invitations.filter(accepted_by=None).order_by("-expires_at", "-pk")
    return [Invited(row, _the_same(row)) for row in waiting]


def _the_same(invitation: Invitation) -> InviteForm:
    """Its fields have no ids: those are the visible form's."""
    values = {"email": invitation.email, **SeatForm.values_of(invitation)}
    return InviteForm(initial=values, auto_id=False)


def _prefix(member: Member) -> str:
    """Each member's form has ids of its own."""
    return f"member-{member.pk}"


def _member(project: Project, member_id: int) -> Member:
    member = project.members.select_related("user").filter(pk=member_id).first()
    if member is None:
        raise Http404
    return member


def _link(request: Request, token: str) -> str:
    path = reverse("projects:invitation", args=[token])
    return (
        f"{settings.PUBLIC_URL}{path}" if settings.PUBLIC_URL else request.build_absolute_uri(path)
    )


def _may_invite(request: Request) -> bool:
    key = f"invitations-of:{request.user.pk}"
    sent = cache.get_or_set(key, 0, HOUR) or 0
    cache.set(key, sent + 1, HOUR)
    return bool(sent < INVITATIONS_AN_HOUR)


def _send(request: Request, project: Project, email: str, link: str) -> None:
    """The same mail to everybody, whether they have an account or not."""
    about = {"project": project, "inviter": request.user, "link": link}
    subject = _("%(name)s invites you to “%(project)s”") % {
        "name": request.user.username,
        "project": project,
    }
    body = render_to_string("generation/invitation.txt", about)
    try:
        send_mail(" ".join(subject.split()), body, None, [email])
    except (OSError, SMTPException):
        log.exception("The invitation to project %s could not be mailed", project.pk)
        messages.warning(request, _("The mail could not be sent. Give them the link yourself."))
    else:
        messages.success(request, _("The invitation is on its way to %(to)s.") % {"to": email})
