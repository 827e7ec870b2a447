"""What keeps an open page true: the stream of news that it may hear, and the parts that it asks
for when it has heard some.

A part of a page has an id and a `data-version`, and says with `data-live` which news are about it
(projects/live.py has their names). The page's own address answers `?fresh=<id>:<version>,…` with
those of these parts that are of another version by now, to be put in the places of the old ones,
or with 204; with `own` what is to be said of a click there goes along. static/js/live.js is the
other side of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from time import time
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from generation.context import site
from projects import access, live
from projects.models import Project
from projects.request import Request

MOST_PARTS = 200  # in one request; live.js asks for fewer
LISTEN = "Listen"  # imagegen/asgi.py makes a stream of an answer with this header


@require_safe
@login_required
@never_cache
def stream(request: Request, project_id: str | None = None) -> HttpResponse:
    """Who may hear what. A server that has no streams answers 204, and pages ask by themselves."""
    audiences = [live.EVERYBODY, live.of_user(request.user.pk)]
    if project_id is not None:
        project = access.project_for(request.user, project_id)
        audiences.append(live.of_project(project.pk))
    return HttpResponse(status=HTTPStatus.NO_CONTENT, headers={LISTEN: " ".join(audiences)})


def stream_for(project: Project | None) -> str:
    """Where a page that is drawn now listens to what changes from now on."""
    name = "project_stream" if project else "stream"
    address = reverse(f"generation:{name}", args=[project.pk] if project else [])
    return f"{address}?since={int(time() * 1000)}"


@dataclass(frozen=True)
class Wanted:
    """The parts that an open page asks for, with the versions that it shows. `is_own`: because of
    something that was clicked there."""

    versions: dict[str, str]
    is_own: bool

    def is_old(self, part: str, version: str) -> bool:
        """It asks for this part, and shows another version of it."""
        return self.versions.get(part, version) != version

    def __contains__(self, part: str) -> bool:
        return part in self.versions

    def subjects(self) -> set[str]:
        """The parts that stand for scenes and characters."""
        return {part for part in self.versions if part.startswith(("scene-", "character-"))}

    def ids(self, kind: str) -> list[str]:
        """Of the scenes or characters (`kind`: "scene", "character") whose parts it asks for."""
        start = f"{kind}-"
        return [part.removeprefix(start) for part in self.versions if part.startswith(start)]


def wanted(request: Request) -> Wanted | None:
    """None for somebody who opens the page."""
    told = request.GET.get("fresh")
    if told is None or not request.htmx:
        return None
    rest = request.GET.copy()
    del rest["fresh"]  # or links that keep the rest of the address would keep it
    is_own = bool(rest.pop("own", ""))
    request.GET = rest  # type: ignore[assignment]
    pairs = (part.partition(":") for part in told.split(",")[:MOST_PARTS])
    return Wanted({part: version for part, _colon, version in pairs}, is_own)


def answer(
    request: Request, wanted: Wanted, template: str, context: dict[str, Any], *, changed: bool
) -> HttpResponse:
    """`template` is the page's partial with its parts that have changed, if any have (`changed`);
    what stands in the frame of every page goes along if that has. Messages go to the page where
    something was clicked, not to another one that asks first."""
    frame = site(request)
    frame["frame_changed"] = "frame" in wanted and wanted.is_old(
        "frame", str(frame["frame_version"])
    )
    frame["is_told"] = wanted.is_own and bool(len(get_messages(request)))
    if not (changed or frame["frame_changed"] or frame["is_told"]):
        return HttpResponse(status=HTTPStatus.NO_CONTENT)
    return render(request, template, frame | context | {"oob": True})
