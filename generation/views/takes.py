"""Two takes of a scene or character beside each other."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from generation import defaults
from generation.board import card_of
from generation.recipes import differences, facts_of, recipe_of, reworded
from generation.takes import Strip, TakeRow, strip_of
from generation.views.board import subject_for
from projects import access
from projects.request import Request


@require_safe
@login_required
@never_cache
def compare(request: Request, kind: str, subject_id: str) -> HttpResponse:
    """`?a=` and `?b=` are the ids of takes; without them, the one that is shown and the one before
    it."""
    subject = subject_for(request, kind, subject_id)
    role = access.require(request.user, subject.project)
    card = card_of(subject, role)
    strip = strip_of(subject, card.picture)
    first = strip.row_of(request.GET.get("a", "")) or strip.viewed
    second = strip.row_of(request.GET.get("b", "")) or strip.beside
    context: dict[str, Any] = {
        "project": subject.project,
        "card": card,
        "strip": strip,
        "ratio": defaults.settings_of(subject.project).ratio_for(subject),
    }
    if first and second:
        context |= _compared(first, second, strip)
    return render(request, "generation/compare.html", context)


def _compared(first: TakeRow, second: TakeRow, strip: Strip) -> dict[str, Any]:
    recipes = [recipe_of(row.take, strip.numbers) for row in (first, second)]
    one, other = (
        facts_of(row.take, recipe) for row, recipe in zip((first, second), recipes, strict=True)
    )
    prompts = [recipe.order.prompt if recipe else "" for recipe in recipes]
    return {
        "first": first,
        "second": second,
        "differences": differences(one, other),
        "prompts": reworded(*prompts) if all(prompts) else None,
        "same_prompt": bool(prompts[0]) and prompts[0] == prompts[1],
    }
