"""The page on which something is done with a take: edited, enlarged, cut out, or made once more."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from uuid import uuid4

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from generation import asks, orders
from generation.allowance import budget_of
from generation.board import kind_of
from generation.forms import ClickForm
from generation.models import Ask, Generation, Operation
from generation.orders import Order, Terms
from generation.replacement import in_its_place
from generation.rework import Bench, bench_for, from_words
from generation.rework_form import FIELDS, MaskForm, ReworkForm
from generation.wishes import OrderRefused
from projects import access
from projects.locks import refuse_locked
from projects.models import Role
from projects.request import Request


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache  # a button kept by a browser would carry a key that has been used
def rework(request: Request, take_id: str, operation: str) -> HttpResponse:
    """A POST orders, or with `ask` asks whoever pays. With `show` it shows the form with its values
    and what they cost, for htmx the part of the form which depends on the model. `?again=` names an
    order whose values it begins with."""
    bench = _bench(request, take_id, Operation(operation))
    if request.method != "POST":
        form = ReworkForm(bench, initial=_begun(bench, request.GET.get("again", "")))
        return _page(request, bench, form, MaskForm(bench, request.user))
    mask = MaskForm(bench, request.user, request.POST, request.FILES)
    if "show" in request.POST:
        told = request.POST.dict() | {"references": request.POST.getlist("references")}
        mask.is_valid()  # what it says of its file is shown, too
        return _page(request, bench, ReworkForm(bench, initial=told), mask)
    return _order(request, bench, ReworkForm(bench, request.POST), mask)


def _bench(request: Request, take_id: str, operation: Operation) -> Bench:
    take = access.take_for(request.user, take_id, Role.EDITOR)
    subject = take.scene or take.character
    if subject is None or take.project is None:
        raise Http404  # it stands on no page that could show what is made of it
    refuse_locked(subject)
    subject.project = take.project
    recipe = from_words(take) if operation == Operation.GENERATE else None
    if operation == Operation.GENERATE and recipe is None:
        raise Http404  # it was not made from words
    return bench_for(take, subject, operation, recipe)


def _order(request: Request, bench: Bench, form: ReworkForm, mask: MaskForm) -> HttpResponse:
    click = ClickForm(request.POST)
    if not click.is_valid():
        return HttpResponseBadRequest(_("This button is broken. Reload the page."))
    if not (form.is_valid() & mask.is_valid()):
        return _page(request, bench, form, mask)
    terms = Terms(request.user, click.cleaned_data["key"], click.cleaned_data["price"])
    wish = form.wish(mask.take)
    try:
        if "ask" in request.POST:
            asks.ask(wish, request.user, click.cleaned_data["price"])
            return HttpResponseRedirect(request.path)  # where it is said that it waits
        if not orders.placed(wish, terms.user, terms.key):
            orders.place(form.prepared(wish), terms)
    except OrderRefused as refused:
        _say(refused, form, mask)
        return _page(request, bench, form, mask, refused)
    subject = bench.subject
    page = reverse("generation:subject", args=[kind_of(subject), subject.pk])
    return HttpResponseRedirect(f"{page}#{kind_of(subject)}-{subject.pk}")


def _say(refused: OrderRefused, form: ReworkForm, mask: MaskForm) -> None:
    """Why it is refused, at the field that is wrong, or above all of them."""
    words = refused.words
    if refused.code == "key_reused":
        words = _("This button has been used. Look at the choices once more and press it again.")
    name = FIELDS.get(refused.field, "")
    at = mask if name == "mask" else form
    at.add_error(name if name in at.fields else None, words)


def _page(
    request: Request,
    bench: Bench,
    form: ReworkForm,
    mask: MaskForm,
    refused: OrderRefused | None = None,
) -> HttpResponse:
    offer, impossible = _offer(form, mask)
    wrong = form.errors or (mask.errors and "show" not in request.POST)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK
    made = Generation.objects.filter(outputs__take=bench.take).select_related("model").first()
    project = bench.subject.project
    budget = budget_of(request.user, project)
    return render(
        request,
        "generation/rework.html#answer" if request.htmx else "generation/rework.html",
        {
            "bench": bench,
            "take": bench.take,
            "project": project,
            "kind": kind_of(bench.subject),
            "made": made,
            "form": form,
            "mask": mask,
            "offer": offer,
            "impossible": impossible,
            "budget": budget,
            "must_ask": offer is not None and not budget.covers(offer.quote.credits),
            "asked": _asked(request, bench) if budget.member else (),
            "refused": refused,
            "key": uuid4().hex,
        },
        status=refused.status if refused else status,
    )


def _offer(form: ReworkForm, mask: MaskForm) -> tuple[Order | None, OrderRefused | None]:
    """What the button says: the order at its price, or why there is none."""
    if form.chosen is None:
        return None, None
    try:
        return form.offer(mask.take), None
    except OrderRefused as refused:
        return None, refused


def _asked(request: Request, bench: Bench) -> list[Ask]:
    """What this person asked for of this work on this take, or of pictures from other words, and
    got no yes."""
    if bench.source:
        about = {"wish__source": bench.take.pk, "wish__operation": bench.operation.value}
    else:
        about = {kind_of(bench.subject): bench.subject.pk}
    return [
        ask
        for ask in asks.asked_by(request.user, **about)
        if ask.answer != Ask.Answer.APPROVED and (bench.source or ask.is_from_other_words)
    ]


def _begun(bench: Bench, order_id: str) -> dict[str, Any]:
    """What the form begins with: what was asked for in the recipe, or in an order of this work on
    this take. A model that was switched off gives way to the one in its place."""
    order = bench.recipe
    if order is None:
        of_take = bench.take.orders_on_it.filter(operation=bench.operation).select_related("model")
        order = next((order for order in of_take if order.pk == order_id), None)
    if order is None:
        return {}
    model = order.model if order.model.is_active else in_its_place(order.model) or order.model
    return {
        "prompt": order.prompt,
        "model": model.model_id,
        "aspect_ratio": order.aspect_ratio,
        "resolution": order.resolution,
        "count": str(order.count),
        "references": [reference.take_id for reference in order.references.all()],
    }
