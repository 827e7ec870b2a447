"""Several pictures at once: the bill first, then all of it or nothing, and how it is doing."""

from __future__ import annotations

from http import HTTPStatus
from uuid import uuid4

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from credits.templatetags.money import in_credits
from generation import batch as batches
from generation.batch import Results, batch_for, results_of
from generation.batch_form import BillForm, OrderForm
from generation.bill import MOST, Bill, bill_for
from generation.filters import scenes_of
from generation.models import Ask
from generation.setup import Setup, setup_of
from generation.several import BillChanged, ask_for_bill, place_bill
from generation.standing import standings_of
from generation.versions import digest
from generation.views.live import answer, stream_for, wanted
from generation.wishes import OrderRefused
from projects import access
from projects.back import came_from
from projects.models import Project, Role
from projects.request import Request

FIT = "fit"  # `show` with this value sets the limit to what there is


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache  # a button kept by a browser would carry a key that has been used
def bill(request: Request, project_id: str) -> HttpResponse:
    """What would be ordered, and what would not.

    A POST orders it, or with `ask` asks the owner for it, if that is still what stood there; with
    `show` it shows the bill for what was changed in the form.
    """
    project = access.project_for(request.user, project_id, Role.EDITOR)
    if request.method != "POST" or "show" in request.POST:
        return _page(request, project)
    click = OrderForm(request.POST)
    if not click.is_valid():
        return HttpResponseBadRequest(_("This button is broken. Reload the page."))
    return _order(request, project, click.cleaned_data["key"], click.cleaned_data["mark"])


@require_safe
@login_required
@never_cache
def batch(request: Request, batch_id: str) -> HttpResponse:
    """How each order of a batch is doing."""
    found = batch_for(request.user, batch_id)
    results = results_of(found)
    orders = found.orders.select_related("scene", "model", "payer", "project").order_by(
        "scene__position", "scene", "created_at", "pk"
    )
    standings = standings_of(list(orders)).values()
    context = {
        "results": results,
        "standings": standings,
        "orders_version": digest([standing.version for standing in standings]),
        "project": found.project,
        "may_edit": access.require(request.user, found.project) >= Role.EDITOR,
    }
    if (asked := wanted(request)) is not None:
        changed = asked.is_old("batch-results", results.version)
        changed = changed or asked.is_old("batch-orders", str(context["orders_version"]))
        context["changed"] = changed
        return answer(request, asked, "generation/batch.html#fresh", context, changed=changed)
    context["stream"] = stream_for(found.project)
    return render(request, "generation/batch.html", context)


@require_POST
@login_required
def put_away(request: Request, batch_id: str) -> HttpResponse:
    """The board says no more of it."""
    found = batch_for(request.user, batch_id)
    if found.ordered_by_id != request.user.pk:
        raise PermissionDenied
    batches.put_away(found)
    board = reverse("generation:board", args=[found.project_id])
    return HttpResponse() if request.htmx else HttpResponseRedirect(came_from(request, board))


def _order(request: Request, project: Project, key: str, mark: str) -> HttpResponse:
    form = _form(request, project, setup_of(project))
    if not form.is_valid():
        return _page(request, project)
    role = access.require(request.user, project)
    try:
        if "ask" in request.POST:
            asked = ask_for_bill(project, request.user, role, form.choices, mark)
            messages.success(request, _asked_words(project, asked))
        else:
            placed = place_bill(project, request.user, role, form.choices, key, mark)
            messages.success(request, _placed_words(results_of(placed)))
    except BillChanged:
        messages.error(request, _("The bill has changed. Nothing was ordered; look at it again."))
        return _page(request, project, HTTPStatus.CONFLICT)
    except OrderRefused as refused:
        messages.error(request, refused.words)
        return _page(request, project, HTTPStatus(refused.status))
    return redirect("generation:board", project.pk)


def _placed_words(results: Results) -> str:
    words = ngettext(
        "%(count)d picture ordered: %(held)s.",
        "%(count)d pictures ordered: %(held)s.",
        results.total,
    )
    return words % {"count": results.total, "held": in_credits(results.held)}


def _asked_words(project: Project, asked: list[Ask]) -> str:
    words = ngettext(
        "%(name)s has been asked for %(count)d picture: %(price)s.",
        "%(name)s has been asked for %(count)d pictures: %(price)s.",
        len(asked),
    )
    price = in_credits(sum(ask.price for ask in asked))
    return words % {"name": project.owner.username, "count": len(asked), "price": price}


def _page(request: Request, project: Project, status: HTTPStatus = HTTPStatus.OK) -> HttpResponse:
    """The bill for what the form says; for htmx what depends on the choices."""
    setup = setup_of(project, request.user)
    form, bill = _billed(request, project, setup)
    if request.POST.get("show") == FIT and bill and bill.left is not None:
        form, bill = _billed(request, project, setup, cap=bill.left)
    return render(
        request,
        "generation/bill.html#answer" if request.htmx else "generation/bill.html",
        {
            "project": project,
            "setup": setup,
            "form": form,
            "bill": bill,
            "most": MOST,
            "key": uuid4().hex,
        },
        status=status if bill else HTTPStatus.UNPROCESSABLE_ENTITY,
    )


def _billed(
    request: Request, project: Project, setup: Setup, cap: int | None = None
) -> tuple[BillForm, Bill | None]:
    """No bill while the form is not right."""
    form = _form(request, project, setup, cap)
    if not form.is_valid():
        return form, None
    role = access.require(request.user, project)
    return form, bill_for(project, request.user, role, setup, form.choices)


def _form(request: Request, project: Project, setup: Setup, cap: int | None = None) -> BillForm:
    _scenes, filters = scenes_of(project, "all", sends_faces=setup.sends_faces)
    sent = request.POST if request.method == "POST" else request.GET
    return BillForm(project, request.user, sent, filters, cap)
