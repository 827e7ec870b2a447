"""Where KIE took something else than was booked (generation/reconcile.py): staff look into it, and
settle it with a note. And the balances at KIE between which the account was compared."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from credits.admin import ReadOnly
from credits.templatetags.money import credit_change, credits
from generation import reconcile
from generation.admin.form import form_page, keep_choice
from generation.models import BalanceSample, Difference


class SettledFilter(admin.SimpleListFilter):
    title = gettext_lazy("settled")
    parameter_name = "settled"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("no", gettext_lazy("Open")), ("yes", gettext_lazy("Settled"))]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        if self.value() not in ("no", "yes"):
            return None
        return rows.filter(settled_at__isnull=self.value() == "no")


class AboutFilter(admin.SimpleListFilter):
    title = gettext_lazy("what it is about")
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("order", gettext_lazy("An order")), ("account", gettext_lazy("The account"))]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        if self.value() not in ("order", "account"):
            return None
        return rows.filter(generation__isnull=self.value() == "account")


class NoteForm(forms.Form):
    note = forms.CharField(
        label=gettext_lazy("note"),
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text=gettext_lazy("What explains it. Your name is kept with it."),
    )


@admin.register(Difference)
class DifferenceAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = [
        "found_at",
        "about",
        "booked_shown",
        "used_shown",
        "more_shown",
        "settled_at",
        "note",
    ]
    list_filter = [SettledFilter, AboutFilter, "found_at"]
    list_select_related = ["generation", "since", "until"]
    list_per_page = 50
    search_fields = ["=generation__id", "=generation__task_id", "note"]
    search_help_text = gettext_lazy("Order, KIE task or note")
    fields = ["booked_shown", "used_shown", "more_shown", "found_at", "settled_at", "note"]
    actions = ["settle"]
    show_full_result_count = False

    def get_fields(self, request: HttpRequest, obj: Difference | None = None) -> Any:
        its_own = ["order", "task"] if obj and obj.generation_id else ["between", "lost"]
        return ["words", *its_own, *self.fields]

    @admin.display(description=gettext_lazy("what it is about"))
    def about(self, difference: Difference) -> str:
        return difference.generation_id or _("The account")

    @admin.display(description=gettext_lazy("booked"), ordering="booked")
    def booked_shown(self, difference: Difference) -> str:
        return credits(difference.booked)

    @admin.display(description=gettext_lazy("used, says KIE"), ordering="used")
    def used_shown(self, difference: Difference) -> str:
        return credits(difference.used)

    @admin.display(description=gettext_lazy("difference"))
    def more_shown(self, difference: Difference) -> str:
        return credit_change(difference.more)

    @admin.display(description=gettext_lazy("what was found"))
    def words(self, difference: Difference) -> str:
        return reconcile.in_words(difference)

    @admin.display(description=gettext_lazy("order"))
    def order(self, difference: Difference) -> SafeString | str:
        return _link_to(difference.generation)

    @admin.display(description=gettext_lazy("KIE task"))
    def task(self, difference: Difference) -> str:
        return (difference.generation and difference.generation.task_id) or "–"

    @admin.display(description=gettext_lazy("between"))
    def between(self, difference: Difference) -> SafeString | str:
        if difference.since is None or difference.until is None:
            return "–"
        return format_html("{} – {}", _link_to(difference.since), _link_to(difference.until))

    @admin.display(description=gettext_lazy("orders whose answer was lost"))
    def lost(self, difference: Difference) -> SafeString | str:
        links = ((_link_to(order),) for order in reconcile.lost_orders(difference))
        return format_html_join(" ", "{}", links) or "–"

    # What staff may do

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.settle_view)
        return [
            path("<int:pk>/settle/", view, name="generation_difference_settle"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        may_settle = self.has_settle_permission(request) and row and row.settled_at is None
        extra = {**(extra_context or {}), "may_settle": may_settle}
        return super().change_view(request, object_id, form_url, extra)

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("generation.change_difference")

    @admin.action(description=gettext_lazy("Settle"), permissions=["settle"])
    def settle(self, request: HttpRequest, rows: QuerySet[Difference]) -> HttpResponse | None:
        form = NoteForm(request.POST if "note" in request.POST else None)
        keep_choice(form, request.POST)
        if form.is_valid():
            self._settle(request, rows, form)
            return None
        count = rows.filter(settled_at=None).count()
        lead = ngettext(
            "The note is kept with %(count)d open difference.",
            "The note is kept with %(count)d open differences.",
            count,
        )
        return form_page(self, request, None, form, title=_("Settle"), lead=lead % {"count": count})

    def settle_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_settle_permission(request):
            raise PermissionDenied
        row = get_object_or_404(Difference, pk=pk)
        form = NoteForm(request.POST or None)
        if form.is_valid():
            self._settle(request, Difference.objects.filter(pk=pk), form)
            return redirect("admin:generation_difference_change", pk)
        lead = reconcile.in_words(row)
        return form_page(self, request, row, form, title=_("Settle"), lead=lead)

    def _settle(self, request: HttpRequest, rows: QuerySet[Difference], form: forms.Form) -> None:
        note = form.cleaned_data["note"]
        settled = reconcile.settle(rows, note)
        for row in settled:
            self.log_change(request, row, _("Settled: %(note)s") % {"note": note})
        words = ngettext(
            "%(count)d difference is settled.", "%(count)d differences are settled.", len(settled)
        )
        messages.success(request, words % {"count": len(settled)})


@admin.register(BalanceSample)
class BalanceSampleAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["at", "credits_shown", "account", "difference_to_the_one_before"]
    list_filter = ["at"]
    list_per_page = 50
    list_select_related = ["difference"]
    fields = ["at", "credits_shown", "account", "difference_to_the_one_before"]

    @admin.display(description=gettext_lazy("credits"), ordering="credits")
    def credits_shown(self, sample: BalanceSample) -> str:
        return credits(sample.credits)

    @admin.display(description=gettext_lazy("difference"))
    def difference_to_the_one_before(self, sample: BalanceSample) -> SafeString | str:
        found = getattr(sample, "difference", None)
        return (
            format_html('<a href="{}">{}</a>', _page_of(found), credit_change(found.more))
            if found
            else "–"
        )


def _link_to(row: Any) -> SafeString | str:
    return format_html('<a href="{}">{}</a>', _page_of(row), row) if row else "–"


def _page_of(row: Any) -> str:
    return reverse(f"admin:generation_{row._meta.model_name}_change", args=[row.pk])
