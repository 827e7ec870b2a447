"""A person's credits: what there is, what is held, and every entry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from credits.models import CreditLedger, LedgerEntry
from generation.models import Generation
from generation.views import Request
from projects.models import Project

ENTRIES_ON_A_PAGE = 50


@dataclass(frozen=True)
class Row:
    """An entry with what it leads to; None where there is nothing, or nothing to be seen."""

    entry: LedgerEntry
    project: Project | None
    order: Generation | None

    @property
    def given_back(self) -> int:
        """Hundredths that a release sets free."""
        return -self.entry.held_change


@require_safe
@login_required
@never_cache
def credits(request: Request) -> HttpResponse:
    ledger = CreditLedger.objects.filter(owner=request.user).first()
    entries = LedgerEntry.objects.filter(ledger=ledger) if ledger else LedgerEntry.objects.none()
    page = Paginator(entries, ENTRIES_ON_A_PAGE).get_page(request.GET.get("page"))
    return render(
        request,
        "generation/credits.html",
        {
            "ledger": ledger or CreditLedger(owner=request.user),
            "page": page,
            "window": page.paginator.get_elided_page_range(page.number),
            "rows": _rows(request, page.object_list),
        },
    )


def _rows(request: Request, entries: Iterable[LedgerEntry]) -> list[Row]:
    entries = list(entries)
    projects = Project.objects.visible_to(request.user).in_bulk(
        [entry.project for entry in entries if entry.project]
    )
    orders = Generation.objects.select_related("scene", "character", "ordered_by").in_bulk(
        [_order_id(entry) for entry in entries if _order_id(entry)]
    )
    return [_row(request, entry, projects, orders) for entry in entries]


def _row(
    request: Request,
    entry: LedgerEntry,
    projects: dict[str, Project],
    orders: dict[str, Generation],
) -> Row:
    project = projects.get(entry.project)
    order = orders.get(_order_id(entry))
    if order and order.project_id not in projects:
        alone = order.project_id is None and order.ordered_by == request.user
        order = order if alone else None
    return Row(entry, project, order)


def _order_id(entry: LedgerEntry) -> str:
    """The order that a reference names (`generation:<id>:hold`); "" for another entry."""
    kind, _colon, rest = entry.reference.partition(":")
    return rest.partition(":")[0] if kind == "generation" else ""
