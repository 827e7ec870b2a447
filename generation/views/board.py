"""The board, the page of a scene or character, and the click on "Generate image"."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from generation import breaker, orders, prompts
from generation.asks import asked_of, requests_in
from generation.batch import news_of
from generation.board import (
    Card,
    card_of,
    cards_of,
    kind_of,
    neighbours,
)
from generation.casting import casting_of
from generation.filters import WHICH, counts_of, scenes_of, several_of
from generation.forms import ClickForm
from generation.models import Generation
from generation.orders import Terms
from generation.recipes import facts_of, recipe_of
from generation.replacement import replacement_for
from generation.rework import works_offered
from generation.setup import Setup, setup_of
from generation.several import place_variants
from generation.standing import standings_of
from generation.takes import strip_of
from generation.versions import columns_of, digest
from generation.views.live import Wanted, answer, stream_for, wanted
from generation.wishes import OrderRefused, Wish
from projects import access, live
from projects.back import at_place, came_from
from projects.models import Character, Project, Role, Scene
from projects.request import Request
from projects.slate import ahead_of

SCENES_ON_A_PAGE = 60
ORDERS_ON_A_PAGE = 50


@require_safe
@login_required
@never_cache  # a button kept by a browser would carry a key that has been used
def board(request: Request, project_id: str) -> HttpResponse:
    project = access.project_for(request.user, project_id)
    role = access.require(request.user, project)
    if (asked := wanted(request)) is not None:
        return _changed_of_board(request, project, role, asked)
    setup = setup_of(project, request.user)
    found = _found(request, project, role, setup)
    if request.htmx.target == "found":
        response = render(request, "generation/board.html#found", found)
        response["HX-Replace-Url"] = found["address"]
        return response
    people = cards_of(project, project.characters.all(), role, setup)
    return render(
        request,
        "generation/board.html",
        {
            "replacement": replacement_for(project) if setup.refused else None,
            "trouble": breaker.tripped().filter(model=setup.model).first(),
            "people": people,
            "several": several_of([] if found["words"] else found["choices"], setup),
            "results": news_of(project, request.user),
            "any_open": any(card.is_open for card in (*found["scenes"], *people)),
            "stream": stream_for(project),
            **found,
            **requests_in(asked_of(request.user).filter(member__project=project)),
        },
    )


def _changed_of_board(
    request: Request, project: Project, role: Role, asked: Wanted
) -> HttpResponse:
    """The cards of an open board that have changed, and what stands around them."""
    setup = setup_of(project, request.user)
    there: list[Card] = []
    for kind, rows in (("scene", project.scenes), ("character", project.characters)):
        if ids := asked.ids(kind):
            there += cards_of(project, rows.filter(pk__in=ids), role, setup)
    cards = [card for card in there if asked.is_old(card.dom_id, card.version)]
    gone = asked.subjects() - {card.dom_id for card in there}
    context: dict[str, Any] = {
        "project": project,
        "cards": cards,
        "gone": gone,
        "may_edit": role >= Role.EDITOR,
        "setup": setup,
    }
    around = _changed_around(request, project, setup, asked)
    moved = "found" in asked and asked.is_old("found", _order_now(request, project))
    changed = bool(cards or gone or around or moved)
    context |= around
    response = answer(request, asked, "generation/board.html#fresh", context, changed=changed)
    if moved:
        response["HX-Trigger"] = "scenes-moved"  # they fetch themselves
    return response


def _changed_around(
    request: Request, project: Project, setup: Setup, asked: Wanted
) -> dict[str, Any]:
    """What has changed around the cards: how many are of which kind, asks, the last batch."""
    context: dict[str, Any] = {}
    if "filters" in asked:
        which, words = _sought(request)
        _scenes, choices = scenes_of(project, which, words, sends_faces=setup.sends_faces)
        if asked.is_old("filters", counts := counts_of(choices, setup)):
            several = several_of([] if words else choices, setup)
            context |= {"choices": choices, "counts": counts, "several": several}
            context |= {"which": which, "words": words}
    if "asks" in asked:
        requests = requests_in(asked_of(request.user).filter(member__project=project))
        if asked.is_old("asks", requests["asks_version"]):
            context |= requests
    if "batch-results" in asked:
        results = news_of(project, request.user)
        if results and asked.is_old("batch-results", results.version):
            context["results"] = results
    return context


def _order_now(request: Request, project: Project) -> str:
    scenes = project.scenes.all()
    page = _page(request, scenes, scenes.count())
    first = (page.number - 1) * SCENES_ON_A_PAGE
    ids = scenes.values_list("pk", flat=True)
    return _order_of(page, ids[first : first + SCENES_ON_A_PAGE])


def _found(request: Request, project: Project, role: Role, setup: Setup) -> dict[str, Any]:
    """The scenes that the address names: by words, by a filter, by a page or a scene on it."""
    which, words = _sought(request)
    scenes, choices = scenes_of(project, which, words, sends_faces=setup.sends_faces)
    count = next(choice.count for choice in choices if choice.name == which)
    page = _page(request, scenes, count)
    cards = cards_of(project, page.object_list, role, setup)
    ids = [card.subject.pk for card in cards]
    said = {"q": words, "show": which if which != "all" else "", "page": page.number}
    query = {name: value for name, value in said.items() if value and (name, value) != ("page", 1)}
    return {
        "project": project,
        "may_edit": role >= Role.EDITOR,
        "setup": setup,
        "which": which,
        "words": words,
        "choices": choices,
        "counts": counts_of(choices, setup),
        "page": page,
        "window": page.paginator.get_elided_page_range(page.number),
        "scenes": cards,
        "order": _order_of(page, ids) if not words and which == "all" else "",
        "address": f"{request.path}?{urlencode(query)}".rstrip("?"),
    }


def _sought(request: Request) -> tuple[str, str]:
    """The filter and the words that the address names."""
    which = request.GET.get("show", "")
    return which if which in WHICH else "all", request.GET.get("q", "").strip()


def _page(request: Request, scenes: QuerySet[Scene], count: int) -> Page[Scene]:
    paginator = Paginator(scenes, SCENES_ON_A_PAGE)
    paginator.count = count
    if "at" in request.GET and "page" not in request.GET:
        return paginator.get_page(_page_at(scenes, request.GET["at"]))
    return paginator.get_page(request.GET.get("page"))


def _order_of(page: Page[Scene], ids: Iterable[str]) -> str:
    """A version of which scenes stand on the page of all scenes, and in which order. Where only
    some are looked for, what has been found stays until somebody looks again."""
    return digest(page.paginator.num_pages, list(ids))


def _page_at(scenes: QuerySet[Scene], scene_id: str) -> int:
    """The number of the page on which a scene stands; 1 if it is none of these."""
    found = scenes.filter(pk=scene_id).first()
    return scenes.filter(ahead_of(found)).count() // SCENES_ON_A_PAGE + 1 if found else 1


@require_safe
@login_required
@never_cache
def subject(request: Request, kind: str, subject_id: str) -> HttpResponse:
    """The page; for htmx the part of it that is asked for. `?take=` is seen large."""
    shown = subject_for(request, kind, subject_id)
    context = _page_of(request, shown, request.GET)
    if (asked := wanted(request)) is not None:
        context["changed"] = asked.is_old(live.name_of(shown), context["version"])
        changed = context["changed"]
        return answer(request, asked, "generation/subject.html#fresh", context, changed=changed)
    context["stream"] = stream_for(shown.project)
    parts = {
        "viewer": "generation/viewer.html",
        context["card"].dom_id: "generation/subject.html#live",
    }
    part = request.htmx.target or ""
    return render(request, parts.get(part, "generation/subject.html"), context)


@require_POST
@login_required
def generate(request: Request, kind: str, subject_id: str) -> HttpResponse:
    shown = subject_for(request, kind, subject_id, Role.EDITOR)
    click = ClickForm(request.POST)
    if not click.is_valid():
        return HttpResponseBadRequest(_("This button is broken. Reload the page."))
    terms = Terms(
        user=request.user,
        key=click.cleaned_data["key"],
        shown_price=click.cleaned_data["price"],
    )
    wish = Wish(project=shown.project, subject=shown)
    try:
        if not orders.placed(wish, terms.user, terms.key):
            place_variants(orders.prepare(wish), terms, click.cleaned_data["variants"])
    except OrderRefused as refused:
        return answer_click(request, shown, refused=refused)
    return answer_click(request, shown)


# What these views share with those of an order


def subject_for(
    request: Request, kind: str, subject_id: str, role: Role = Role.VIEWER
) -> Scene | Character:
    if kind == "scene":
        return access.scene_for(request.user, subject_id, role)
    return access.character_for(request.user, subject_id, role)


def answer_click(
    request: Request,
    subject: Scene | Character,
    refused: OrderRefused | None = None,
    choosing: str = "",
) -> HttpResponse:
    """The card as it is now, with the words of a refusal; without script, the page it stands on.

    `choosing` is the id of an order of which it is to be said what becomes of its picture.
    """
    if not request.htmx:
        if refused:
            messages.error(request, refused.words)
        return back_to(request, subject)
    if request.POST.get("on") == "subject":
        template = "generation/subject.html#answer"
        context = _page_of(request, subject, _looked_at(request))
    else:
        role = access.require(request.user, subject.project)
        setup = setup_of(subject.project, request.user)
        template, context = "generation/board.html#answer", {"card": card_of(subject, role, setup)}
    context |= {"refused": refused, "choosing": choosing, "was_clicked": True}
    status = refused.status if refused else HTTPStatus.OK
    response = render(request, template, context, status=status)
    response["HX-Trigger"] = "order-moved"  # the counts above the scenes are another part's
    return response


def _looked_at(request: Request) -> QueryDict:
    """What the page that asks shows stands in its address."""
    return QueryDict(urlsplit(request.htmx.current_url_abs_path or "").query)


def _page_of(request: Request, subject: Scene | Character, look: QueryDict) -> dict[str, Any]:
    """What the page of a scene or character shows; `look` as in takes.strip_of."""
    role = access.require(request.user, subject.project)
    setup = setup_of(subject.project, request.user)
    card = card_of(subject, role, setup)
    orders_of = Generation.objects.of(subject).newest_first().select_related("model", "ordered_by")
    before, after = neighbours(subject) if isinstance(subject, Scene) else (None, None)
    orders_shown = standings_of(list(orders_of[:ORDERS_ON_A_PAGE])).values()
    strip = strip_of(subject, card.picture, look.dict())
    viewed = strip.viewed
    recipe = recipe_of(viewed.take, strip.numbers) if viewed else None
    parts = card.offer.parts if card.offer else prompts.parts_for(subject, card.cast)
    return {
        "project": subject.project,
        "card": card,
        "version": digest(
            card.version,
            [columns_of(row.take) for row in strip.numbered],
            [standing.version for standing in orders_shown],
        ),
        "may_edit": role >= Role.EDITOR and not card.is_locked,
        "may_lock": role >= Role.EDITOR and card.kind == "scene",
        "setup": setup,
        "ratio": setup.settings.ratio_for(subject),
        "parts": parts,
        "length": _length(parts, setup),
        "request_json": as_json(card.offer.request) if card.offer else "",
        "strip": strip,
        "recipe": recipe,
        "facts": facts_of(viewed.take, recipe) if viewed else (),
        "works": works_offered() if role >= Role.EDITOR and not card.is_locked else (),
        "casting": casting_of(
            card.cast, setup.model, setup.resolution, card.offer.pictures if card.offer else ()
        ),
        "orders": orders_shown,
        "before": before,
        "after": after,
    }


def _length(parts: list[prompts.Part], setup: Setup) -> prompts.Length | None:
    if not parts or setup.model is None:
        return None
    return prompts.Length(len(prompts.join(parts)), orders.longest_prompt(setup.model))


def as_json(request: dict[str, Any]) -> str:
    """createTask's body, the model first: PostgreSQL's jsonb has an order of its own."""
    ordered = {"model": request["model"], **request}
    return json.dumps(ordered, indent=2, ensure_ascii=False)


def back_to(request: Request, subject: Scene | Character) -> HttpResponse:
    """To the page that the click came from, at its card."""
    page = came_from(request, reverse("generation:board", args=[subject.project_id]))
    return HttpResponseRedirect(at_place(page, f"{kind_of(subject)}-{subject.pk}"))
