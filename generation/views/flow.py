"""What happens when you click, for one project."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from generation import summary
from generation.flow import flow as flow_of
from projects import access
from projects.request import Request


@require_safe
@login_required
@never_cache
def flow(request: Request, project_id: str) -> HttpResponse:
    """The page; with `?check=1` also what KIE, the storage and the workers say.

    The page asks for those by itself once it stands, so that nobody waits for them.
    """
    found = flow_of(access.project_for(request.user, project_id), request.user)
    checks = found.checks
    asked = "check" in request.GET
    if asked:
        checks += summary.outside_checks(found.order)
    template = "generation/flow.html#checks" if request.htmx else "generation/flow.html"
    context = {"flow": found, "project": found.project, "checks": checks, "asked": asked}
    return render(request, template, context)
