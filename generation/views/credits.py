"""A person's credits: what there is, what is held, every entry and what it went for."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import islice
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import get_format
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from credits.amounts import credits_text, dollars_text
from generation.statement import PARTS, Entries, Row, Statement
from generation.statement_form import SelectionForm
from projects.request import Request

ENTRIES_ON_A_PAGE = 50
ROWS_AT_ONCE = 500
BOM = "\ufeff"  # without it Excel takes the file for another encoding
STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@require_safe
@login_required
@never_cache
def credits(request: Request) -> HttpResponse:
    statement, form, entries = _selected(request)
    page = Paginator(entries, ENTRIES_ON_A_PAGE).get_page(request.GET.get("page"))
    by = request.GET.get("by", "")
    by = by if by in PARTS else "person"
    return render(
        request,
        "generation/credits.html",
        {
            "ledger": statement.ledger,
            "form": form,
            "page": page,
            "window": page.paginator.get_elided_page_range(page.number),
            "rows": statement.rows(page.object_list),
            "sums": statement.sums(entries),
            "by": by,
            "parts": statement.parts(entries, by),
        },
    )


@require_safe
@login_required
@never_cache
def credits_csv(request: Request) -> HttpResponseBase:
    """The same selection as a table for spreadsheets, written while it is read. A selection that is
    wrong gets words: an empty table would look like nothing spent."""
    statement, form, entries = _selected(request)
    if form.errors:
        return HttpResponse(
            _what_is_wrong(form),
            content_type="text/plain; charset=utf-8",
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
        )
    lines = _lines(statement, entries.iterator(ROWS_AT_ONCE))
    answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="credits.csv"'
    return answer


def _selected(request: Request) -> tuple[Statement, SelectionForm, Entries]:
    statement = Statement(request.user)
    form = SelectionForm(request.GET, statement=statement)
    entries = statement.entries(form.selection) if form.is_valid() else statement.nothing()
    return statement, form, entries


def _what_is_wrong(form: SelectionForm) -> str:
    """A line for each field: its label, and what is wrong with it."""
    wrong = form.errors.items()
    said = [f"{form[name].label}: {' '.join(map(str, words))}" for name, words in wrong]
    return "\n".join([_("Nothing was selected."), *said])


class Echo:
    """A file that gives back what is written, for the writer of csv."""

    def write(self, line: str) -> str:
        return line


def _lines(statement: Statement, entries: Iterator[Any]) -> Iterator[str]:
    """Where numbers have a decimal comma, spreadsheets expect a semicolon between the columns."""
    comma = get_format("DECIMAL_SEPARATOR") == ","
    writer = csv.writer(Echo(), delimiter=";" if comma else ",")
    yield BOM + writer.writerow(_titles())
    while some := list(islice(entries, ROWS_AT_ONCE)):
        for row in statement.rows(some):
            yield writer.writerow(_cells(row, "," if comma else "."))


def _titles() -> list[str]:
    return [
        _("When"),
        _("Kind"),
        _("What"),
        _("Project"),
        _("Scene or character"),
        _("Ordered by"),
        _("Model"),
        _("Change of balance"),
        _("Change of held"),
        _("Balance after"),
        _("Real cost ($)"),
        _("Pictures"),
        _("Order"),
    ]


def _cells(row: Row, decimal: str) -> Iterable[str]:
    entry, order = row.entry, row.order

    def number(text: str) -> str:
        return text.replace(".", decimal)

    return [
        f"{timezone.localtime(entry.created_at):%Y-%m-%d %H:%M:%S}",
        defused(entry.get_kind_display()),
        defused(entry.description),
        defused(row.project.name if row.project else ""),
        defused(str(order.subject or "") if order else ""),
        defused(order.ordered_by.username if order else ""),
        defused(order.model.name if order else ""),
        number(credits_text(entry.balance_change)),
        number(credits_text(entry.held_change)),
        number(credits_text(entry.balance_after)),
        number(dollars_text(entry.real_cost)),
        str(len(row.outputs) or ""),
        order.pk if order else "",
    ]


def defused(text: str) -> str:
    """A cell that a spreadsheet would take for a formula becomes a text."""
    return f"'{text}" if text.startswith(STARTS_FORMULA) else text
