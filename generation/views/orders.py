"""My orders, and taking one back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from generation import lifecycle, line
from generation.api import generation_for
from generation.asks import asked_by, asked_of, requests_in
from generation.models import OPEN_STATES, Generation, State, TakenBack
from generation.standing import (
    Standing,
    standing_of,
    standings_of,
)
from generation.versions import digest
from generation.views.board import answer_click
from generation.views.live import answer, stream_for, wanted
from projects import access
from projects.back import came_from
from projects.models import Project, Role
from projects.request import Request

ENDED_SHOWN = 50
IN_LINE = 5  # seconds between two looks at one's place in line


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def cancel(request: Request, generation_id: str) -> HttpResponse:
    """Takes an order back; answers with what the button stood on.

    One that waits in line is cancelled. One that KIE has, or may have, goes on there: with `then`
    (a value of TakenBack) its credits come back, and that becomes of a picture that still comes.
    A GET shows the choice on a page, for whoever has no script.
    """
    found = generation_for(request.user, generation_id)
    if found.project is not None:
        access.require(request.user, found.project, Role.EDITOR)
    if request.method != "POST":
        return _choice(request, found)
    then = request.POST.get("then", "")
    if then not in ("", *TakenBack.values):
        return HttpResponseBadRequest(_("This button is broken. Reload the page."))
    taken_back = bool(then) and lifecycle.take_back(found, TakenBack(then))
    # Whoever takes back what has gone back in line meanwhile wants it cancelled.
    cancelled = not taken_back and lifecycle.cancel(found)
    found.refresh_from_db()
    standing = standing_of(found)
    messages.add_message(request, *_said(standing, taken_back=taken_back, cancelled=cancelled))
    choosing = found.pk if standing.can_take_back else ""
    on = request.POST.get("on", "")
    if choosing and not request.htmx:
        return redirect("generation:cancel", found.pk)
    if on in ("board", "subject") and found.subject is not None:
        return answer_click(request, found.subject, choosing=choosing)
    if request.htmx and on == "queue":
        context = _queue(request) | {"choosing": choosing}
        return render(request, "generation/queue.html#answer", context)
    return HttpResponseRedirect(came_from(request, reverse("generation:queue")))


def _choice(request: Request, found: Generation) -> HttpResponse:
    standing = standing_of(found)
    if not (standing.can_cancel or standing.can_take_back):
        return redirect("generation:order", found.pk)
    back = came_from(request, reverse("generation:order", args=[found.pk]))
    context = {"order": found, "standing": standing, "project": found.project, "back": back}
    return render(request, "generation/cancel.html", context)


def _said(standing: Standing, *, taken_back: bool, cancelled: bool) -> tuple[int, str]:
    """What is said of the try to take an order back: the level of the message, and its words."""
    order = standing.order
    if cancelled:
        return messages.SUCCESS, _("Cancelled. Not charged.")
    if taken_back:
        words = {
            TakenBack.KEEP: _("The credits are given back. If the picture comes, it is free."),
            TakenBack.DISCARD: _(
                "The credits are given back. If the picture comes, it is thrown away."
            ),
        }
        return messages.SUCCESS, words[TakenBack(order.taken_back)]
    if standing.can_take_back:
        return messages.WARNING, _("KIE may have it already. Say what becomes of the picture.")
    if order.state == State.QUEUED:
        return messages.WARNING, _("It is being sent right now. Try again in a moment.")
    if order.is_open and (order.taken_back or standing.given_back):
        return messages.INFO, _("Its credits have been given back already.")
    if order.is_open:
        return messages.WARNING, _("It has been sent already and cannot be taken back.")
    if order.state == State.DONE:
        return messages.INFO, _("It was too late: the picture is stored already.")
    return messages.INFO, _("It has ended already.")


@require_safe
@login_required
@never_cache
def queue(request: Request) -> HttpResponse:
    context = _queue(request) | _asks(request)
    if (asked := wanted(request)) is None:
        context["stream"] = stream_for(None)
        return render(request, "generation/queue.html", context)
    shown = {"queue": "version", "asks": "asks_version", "asked": "asked_version"}
    changed = [part for part, name in shown.items() if asked.is_old(part, context[name])]
    context["changed"] = changed
    return answer(request, asked, "generation/queue.html#fresh", context, changed=bool(changed))


def _asks(request: Request) -> dict[str, Any]:
    """What this person is asked for, and what they asked for."""
    own = list(asked_by(request.user))
    said = digest([(ask.pk, ask.answer, ask.word, ask.order_id) for ask in own])
    return {**requests_in(asked_of(request.user)), "asks": own, "asked_version": said}


@dataclass(frozen=True)
class Row:
    """An order in the queue. `place` is its place in line, 1 for the next; None for one that is
    not in line."""

    standing: Standing
    place: int | None

    @property
    def order(self) -> Generation:
        return self.standing.order

    @property
    def version(self) -> str:
        return f"{self.standing.version}.{self.place or ''}"


def _queue(request: Request) -> dict[str, Any]:
    mine = _mine(request)
    under_way = list(mine.awaited().order_by("created_at", "pk"))
    over = ~Q(state__in=OPEN_STATES) | Q(taken_back=TakenBack.DISCARD)
    ended = list(mine.filter(over).newest_first()[:ENDED_SHOWN])
    standings = standings_of([*under_way, *ended])
    waits = any(order.state == State.QUEUED for order in under_way)
    places = line.places(request.user.pk) if waits else {}
    rows = [Row(standings[order.pk], places.get(order.pk)) for order in under_way]
    rows_ended = [Row(standings[order.pk], None) for order in ended]
    return {
        "under_way": rows,
        "ended": rows_ended,
        "version": digest([row.version for row in (*rows, *rows_ended)]),
        "look_in": _look_in(rows),
    }


def _look_in(rows: list[Row]) -> int | None:
    """Seconds until the list is to be looked at again: one's place in line depends on others."""
    if any(row.place for row in rows):
        return IN_LINE
    return min((row.standing.look_in for row in rows if row.standing.look_in), default=None)


def _mine(request: Request) -> Any:
    """What this person ordered, as far as they may still see its project."""
    seen = Q(project=None) | Q(project__in=Project.objects.visible_to(request.user))
    return Generation.objects.filter(seen, ordered_by=request.user).select_related(
        "project__owner", "scene", "character", "model", "payer"
    )
