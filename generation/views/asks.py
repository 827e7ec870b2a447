"""Asking the owner for a picture, and the owner's answer."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from credits.templatetags.money import in_credits
from generation import asks
from generation.asks import NotAsked, ask_for
from generation.forms import PriceForm
from generation.models import Ask, Generation
from generation.sharing_forms import AnswerForm
from generation.views.board import answer_click, subject_for
from generation.wishes import OrderRefused, Wish
from projects import access
from projects.back import came_from
from projects.models import Role
from projects.request import Request


@require_POST
@login_required
def ask(request: Request, kind: str, subject_id: str) -> HttpResponse:
    """What stands in place of "Generate image" where the allowance does not cover its price."""
    shown = subject_for(request, kind, subject_id, Role.EDITOR)
    click = PriceForm(request.POST)
    if not click.is_valid():
        return HttpResponseBadRequest(_("This button is broken. Reload the page."))
    wish = Wish(project=shown.project, subject=shown)
    try:
        asks.ask(wish, request.user, click.cleaned_data["price"])
    except OrderRefused as refused:
        return answer_click(request, shown, refused=refused)
    return answer_click(request, shown)


@require_POST
@login_required
def take_back(request: Request, ask_id: str) -> HttpResponse:
    found = ask_for(request.user, ask_id)
    if found.member.user_id != request.user.pk:
        raise PermissionDenied
    if not asks.take_back(found):
        messages.info(request, _("It has been answered already."))
    if request.htmx and found.subject is not None:
        return answer_click(request, found.subject)
    return HttpResponseRedirect(came_from(request, reverse("generation:queue")))


@require_POST
@login_required
def answer(request: Request) -> HttpResponse:
    """Approves or declines one ask or several. What cannot be ordered now is said, and stays."""
    form = AnswerForm(request.POST)
    if not form.is_valid():
        return HttpResponseBadRequest(_("This button is broken. Reload the page."))
    asked = [(ask_for(request.user, pk), price) for pk, price in form.cleaned_data["ask"]]
    for found, _price in asked:
        access.require(request.user, found.member.project, Role.OWNER)
    if form.cleaned_data["do"] == "decline":
        _decline(request, [found for found, _price in asked], form.cleaned_data["word"])
    else:
        _approve(request, asked)
    return HttpResponseRedirect(came_from(request, reverse("generation:queue")))


def _approve(request: Request, asked: list[tuple[Ask, int]]) -> None:
    placed: list[Generation] = []
    for found, price in asked:
        try:
            placed.append(asks.approve(found, price))
        except NotAsked:
            _say_too_late(request, found)
        except OrderRefused as refused:
            messages.error(request, f"{found.subject or found.member.project}: {refused.words}")
    if placed:
        held = in_credits(sum(order.price for order in placed))
        words = ngettext(
            "%(count)d picture ordered: %(held)s.",
            "%(count)d pictures ordered: %(held)s.",
            len(placed),
        )
        messages.success(request, words % {"count": len(placed), "held": held})


def _decline(request: Request, asked: list[Ask], word: str) -> None:
    for found in asked:
        try:
            asks.decline(found, word)
        except NotAsked:
            _say_too_late(request, found)


def _say_too_late(request: Request, found: Ask) -> None:
    words = _("%(what)s: this was taken back or answered meanwhile.")
    messages.info(request, words % {"what": found.subject or found.member.project})
