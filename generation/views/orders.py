"""My orders, and the receipt of one."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, OuterRef, Q, Subquery
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from generation import lifecycle
from generation.api import generation_for
from generation.board import seconds_since, stage_of
from generation.models import OPEN_STATES, Generation, State
from generation.receipt import entries_of, outcome_of, trail_of
from generation.views import Request, came_from
from generation.views.board import answer_click, as_json
from projects import access
from projects.models import Project, Role

ENDED_SHOWN = 50


@require_safe
@login_required
@never_cache
def order(request: Request, generation_id: str) -> HttpResponse:
    """The receipt. With `?seen=`, for htmx: the part that changes, or 204 while it is the same."""
    found = generation_for(request.user, generation_id)
    if request.htmx:
        if request.GET.get("seen") == _order_version(found):
            return HttpResponse(status=HTTPStatus.NO_CONTENT)
        return render(request, "generation/order.html#live", _receipt(request, found))
    return render(request, "generation/order.html", _receipt(request, found))


@require_POST
@login_required
def cancel(request: Request, generation_id: str) -> HttpResponse:
    """Takes an order back while it waits in line; answers with what the button stood on."""
    found = generation_for(request.user, generation_id)
    if found.project is not None:
        access.require(request.user, found.project, Role.EDITOR)
    if lifecycle.cancel(found):
        messages.success(request, _("Cancelled. Not charged."))
    elif found.is_open:
        messages.warning(request, _("It has been sent already and cannot be taken back."))
    on = request.POST.get("on", "")
    if request.htmx and on in ("board", "subject") and found.subject is not None:
        return answer_click(request, found.subject)
    if request.htmx and on == "queue":
        return render(request, "generation/queue.html#answer", _queue(request))
    return HttpResponseRedirect(came_from(request, reverse("generation:queue")))


@require_safe
@login_required
@never_cache
def queue(request: Request) -> HttpResponse:
    """With `?seen=`, for htmx: the list alone, or 204 while it is the same."""
    context = _queue(request)
    if request.htmx:
        if request.GET.get("seen") == context["version"]:
            return HttpResponse(status=HTTPStatus.NO_CONTENT)
        return render(request, "generation/queue.html#answer", context)
    return render(request, "generation/queue.html", context)


def _queue(request: Request) -> dict[str, Any]:
    mine = _mine(request)
    under_way = list(mine.open().annotate(place=_place_in_line()).order_by("created_at", "pk"))
    ended = list(mine.exclude(state__in=OPEN_STATES).newest_first()[:ENDED_SHOWN])
    seen = [(row.pk, row.state, row.task_state, row.place) for row in under_way]
    seen += [(row.pk, row.state, "", None) for row in ended]
    return {
        "under_way": [(row, stage_of(row), seconds_since(row.created_at)) for row in under_way],
        "ended": ended,
        "version": hashlib.sha256(repr(seen).encode()).hexdigest()[:16],
    }


def _mine(request: Request) -> Any:
    """What this person ordered, as far as they may still see its project."""
    seen = Q(project=None) | Q(project__in=Project.objects.visible_to(request.user))
    return Generation.objects.filter(seen, ordered_by=request.user).select_related(
        "project__owner", "scene", "character", "model", "payer"
    )


def _place_in_line() -> Subquery:
    """How many orders wait in line up to this one, of everybody; nothing for one that is not."""
    line = Generation.objects.filter(
        state=OuterRef("state"), created_at__lte=OuterRef("created_at")
    ).filter(state=State.QUEUED)
    return Subquery(line.order_by().values("state").annotate(n=Count("pk")).values("n"))


def _order_version(found: Generation) -> str:
    return f"{found.state}-{found.task_state}"


def _receipt(request: Request, found: Generation) -> dict[str, Any]:
    entries = list(entries_of(found))
    may_cancel = found.project is None or (
        access.require(request.user, found.project) >= Role.EDITOR
    )
    ended = found.finished_at
    return {
        "order": found,
        "project": found.project,
        "version": _order_version(found),
        "stage": stage_of(found),
        "seconds": seconds_since(found.created_at, ended),
        "entries": entries,
        "outcome": outcome_of(found, entries),
        "trail": trail_of(found),
        "outputs": found.outputs.select_related("take"),
        "request_json": as_json(found.request),
        "can_cancel": may_cancel and found.state == State.QUEUED,
    }
