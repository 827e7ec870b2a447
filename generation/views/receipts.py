"""The receipt of an order, and of a take: every picture has one."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from generation.api import generation_for
from generation.models import Generation
from generation.parents import numbers_of, parent_of
from generation.receipt import at_kie, entries_of, mask_of, outcome_of, trail_of, went_along
from generation.standing import Standing, seconds_since, standing_of
from generation.versions import digest
from generation.views.board import as_json
from generation.views.live import answer, stream_for, wanted
from projects import access
from projects.models import Role
from projects.request import Request


@require_safe
@login_required
@never_cache
def order(request: Request, generation_id: str) -> HttpResponse:
    found = generation_for(request.user, generation_id)
    standing = standing_of(found)
    context = _receipt(request, standing)
    if (asked := wanted(request)) is not None:
        context["changed"] = asked.is_old("order", str(context["version"]))
        changed = context["changed"]
        return answer(request, asked, "generation/order.html#fresh", context, changed=changed)
    context["stream"] = stream_for(found.project)
    return render(request, "generation/order.html", context)


@require_safe
@login_required
@never_cache
def take(request: Request, take_id: str) -> HttpResponse:
    """The receipt of the order that brought it; else what there is to say of it."""
    found = access.take_for(request.user, take_id)
    order = Generation.objects.filter(outputs__take=found).first()
    if order is not None:
        return redirect("generation:order", order.pk)
    return render(request, "generation/take.html", {"take": found, "project": found.project})


def _receipt(request: Request, standing: Standing) -> dict[str, Any]:
    order = standing.order
    entries = list(entries_of(order))
    outputs = list(order.outputs.select_related("take"))
    numbers = numbers_of(order.subject) if order.subject else {}
    may_act = order.project is None or (access.require(request.user, order.project) >= Role.EDITOR)
    trail = trail_of(order, entries)
    return {
        "order": order,
        "version": digest(standing.version, len(trail), len(entries)),
        "project": order.project,
        "standing": standing,
        "seconds": seconds_since(order.created_at, order.finished_at),
        "entries": entries,
        "outcome": outcome_of(order, entries),
        "at_kie": at_kie(order),
        "trail": trail,
        "outputs": outputs,
        "brought": sum(output.take is not None for output in outputs),
        "parent": parent_of(order, numbers),
        "along": went_along(order, numbers),
        "mask": mask_of(order),
        "request_json": as_json(order.request),
        "can_cancel": may_act and standing.can_cancel,
        "can_take_back": may_act and standing.can_take_back,
    }
