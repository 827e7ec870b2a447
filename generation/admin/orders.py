"""Orders for staff: what was asked, what KIE said, where it is. They are read, never edited; what
can be done to them is in acts.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from credits.admin import ReadOnly
from credits.models import LedgerEntry
from credits.templatetags.money import credits, dollars, in_credits
from generation.admin.acts import ACTS, CANCEL, CLOSE, TAKE_BACK, TRY_AGAIN, Act
from generation.admin.catalogue import pretty
from generation.admin.form import form_page
from generation.admin.sample import SampleForm, may_choose, takes_of
from generation.models import Callback, Event, Generation, Output, Reason, Reference, State
from projects.admin import picture_of

LATE = timedelta(minutes=10)
COUNTED = 10_000
NOTHING = "–"


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than COUNTED: on a large table the count costs more than the page."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNTED].count())


class WorkFilter(admin.SimpleListFilter):
    """The lists that staff work through."""

    title = gettext_lazy("to do")
    parameter_name = "list"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("staff", gettext_lazy("The staff's list")),
            ("open", gettext_lazy("Open")),
            ("late", gettext_lazy("Open for more than 10 minutes")),
        ]

    def queryset(self, request: HttpRequest, orders: QuerySet[Any]) -> QuerySet[Any] | None:
        if self.value() == "staff":
            return orders.filter(state=State.REVIEW) | orders.set_aside()  # type: ignore[attr-defined, no-any-return]
        if self.value() == "open":
            return orders.open()  # type: ignore[attr-defined, no-any-return]
        if self.value() == "late":
            return orders.open().filter(created_at__lt=timezone.now() - LATE)  # type: ignore[attr-defined, no-any-return]
        return None


class ReasonFilter(admin.SimpleListFilter):
    """By the short word; the sentences for users are too long to choose from."""

    title = gettext_lazy("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason.value, reason.value) for reason in Reason]

    def queryset(self, request: HttpRequest, orders: QuerySet[Any]) -> QuerySet[Any] | None:
        return orders.filter(reason=self.value()) if self.value() else None


class MonthFilter(admin.SimpleListFilter):
    """The last twelve months. Django's date hierarchy reads the whole table to find its years."""

    title = gettext_lazy("month")
    parameter_name = "month"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        today = timezone.localdate()
        months = (divmod(today.year * 12 + today.month - 1 - back, 12) for back in range(12))
        firsts = (date(year, month + 1, 1) for year, month in months)
        return [(f"{first:%Y-%m}", date_format(first, "YEAR_MONTH_FORMAT")) for first in firsts]

    def queryset(self, request: HttpRequest, orders: QuerySet[Any]) -> QuerySet[Any] | None:
        if self.value() not in dict(self.lookup_choices):
            return None
        year, month = map(int, str(self.value()).split("-"))
        first, after = datetime(year, month, 1), datetime(year + month // 12, month % 12 + 1, 1)
        return orders.filter(
            created_at__gte=timezone.make_aware(first), created_at__lt=timezone.make_aware(after)
        )


class ReadOnlyInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields


def link_to(url: str) -> SafeString | str:
    """What came from outside is a link only where it can be nothing else."""
    if not url.startswith(("https://", "http://")):
        return url
    return format_html('<a href="{0}" rel="noreferrer">{0}</a>', url)


class OutputInline(ReadOnlyInline):
    model = Output
    fields = ["index", "picture", "link"]

    @admin.display(description=gettext_lazy("take"))
    def picture(self, output: Output) -> str:
        return picture_of(output.take_id)

    @admin.display(description=gettext_lazy("KIE's link"))
    def link(self, output: Output) -> SafeString | str:
        return link_to(output.url)


class ReferenceInline(ReadOnlyInline):
    model = Reference
    fields = ["position", "slot", "picture", "address", "uploaded_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        references: QuerySet[Any] = super().get_queryset(request).select_related("take")
        return references

    @admin.display(description=gettext_lazy("take"))
    def picture(self, reference: Reference) -> str:
        return picture_of(reference.take_id)

    @admin.display(description=gettext_lazy("address at KIE"))
    def address(self, reference: Reference) -> SafeString | str:
        return link_to(reference.url) or NOTHING


class EventInline(ReadOnlyInline):
    model = Event
    verbose_name_plural = gettext_lazy("trail")
    fields = ["exactly_at", "state", "message", "said"]

    @admin.display(description=gettext_lazy("when"))
    def exactly_at(self, event: Event) -> str:
        return f"{timezone.localtime(event.at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description=gettext_lazy("KIE's answer"))
    def said(self, event: Event) -> SafeString | str:
        if event.answer is None:
            return "–"
        return format_html(
            "<details><summary>{}</summary>{}</details>", _("Show"), pretty(event.answer)
        )


class CallbackInline(ReadOnlyInline):
    model = Callback
    fields = ["received_at", "task_id", "heard_at"]


@admin.register(Generation)
class GenerationAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    inlines = [ReferenceInline, OutputInline, EventInline, CallbackInline]
    list_display = [
        "id",
        "state",
        "reason_word",
        "age",
        "model",
        "project",
        "payer",
        "price_shown",
        "task_id",
    ]
    list_filter = [
        WorkFilter,
        "state",
        "taken_back",
        "created_at",
        MonthFilter,
        ReasonFilter,
        "model",
    ]
    list_select_related = ["model", "project", "payer"]
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    ordering = ["-created_at", "-pk"]
    search_fields = [
        "=id",
        "=task_id",
        "=project__id",
        "project__name",
        "=ordered_by__username",
        "=payer__username",
    ]
    search_help_text = gettext_lazy("Id, KIE task, id or name of the project, user name")
    actions = ["cancel_orders", "take_back_orders", "try_again_orders", "close_orders"]
    fieldsets = [
        (None, {"fields": ["state", "reason", "detail", "pictures"]}),
        (
            gettext_lazy("What was asked"),
            {
                "fields": [
                    "project",
                    "scene",
                    "character",
                    "ordered_by",
                    "created_at",
                    "provider",
                    "model",
                    "operation",
                    "source",
                    "aspect_ratio",
                    "resolution",
                    "count",
                    "prompt",
                    "request_sent",
                ]
            },
        ),
        (
            gettext_lazy("What it costs"),
            {
                "fields": [
                    "payer",
                    "price_shown",
                    "kie_credits_shown",
                    "kie_credits_used_shown",
                    "cost_shown",
                    "taken_back",
                    "entries",
                ]
            },
        ),
        (
            gettext_lazy("Where it is"),
            {
                "fields": [
                    "task_id",
                    "task_state",
                    "submitted_at",
                    "finished_at",
                    "next_at",
                    "lease_until",
                    "attempts",
                    "deaths",
                    "order_key",
                ]
            },
        ),
    ]

    # What is shown

    @admin.display(description=gettext_lazy("price"), ordering="price")
    def price_shown(self, order: Generation) -> str:
        return credits(order.price)

    @admin.display(description=gettext_lazy("KIE credits"))
    def kie_credits_shown(self, order: Generation) -> str:
        return credits(order.kie_credits)

    @admin.display(description=gettext_lazy("KIE credits used"))
    def kie_credits_used_shown(self, order: Generation) -> str:
        return "–" if order.kie_credits_used is None else credits(order.kie_credits_used)

    @admin.display(description=gettext_lazy("real cost"))
    def cost_shown(self, order: Generation) -> str:
        return dollars(order.cost)

    @admin.display(description=gettext_lazy("age"), ordering="-created_at")
    def age(self, order: Generation) -> str:
        return timesince(order.created_at, depth=1)

    @admin.display(description=gettext_lazy("reason"), ordering="reason")
    def reason_word(self, order: Generation) -> str:
        return _("set aside") if order.is_set_aside else order.reason or "–"

    @admin.display(description=gettext_lazy("request to KIE, as sent"))
    def request_sent(self, order: Generation) -> SafeString:
        return pretty(order.request)

    @admin.display(description=gettext_lazy("pictures"))
    def pictures(self, order: Generation) -> SafeString | str:
        takes = order.outputs.exclude(take=None).values_list("take_id", flat=True)
        return format_html_join(" ", "{}", ((picture_of(take),) for take in takes)) or "–"

    @admin.display(description=gettext_lazy("ledger entries"))
    def entries(self, order: Generation) -> SafeString | str:
        """The hold, and what became of it."""
        references = [f"generation:{order.pk}:{kind}" for kind in ("hold", "capture", "release")]
        lines = (
            (
                reverse("admin:credits_ledgerentry_change", args=[entry.pk]),
                entry.get_kind_display(),
                in_credits(entry.balance_change or entry.held_change),
            )
            for entry in LedgerEntry.objects.filter(reference__in=references).order_by("pk")
        )
        return format_html_join("", '<div><a href="{}">{}: {}</a></div>', lines) or "–"

    # Addresses

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path(
                "of/<str:reference>/",
                view(self.of_reference_view),
                name="generation_generation_of_reference",
            ),
            *(
                path(
                    f"<str:order_id>/{act.name}/",
                    view(self.act_view),
                    {"act": act},
                    name=f"generation_generation_{act.name}",
                )
                for act in ACTS
            ),
            path(
                "<str:order_id>/sample/",
                view(self.sample_view),
                name="generation_generation_sample",
            ),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page asks again while the order is open; 204 when it has seen the last event."""
        newest = _newest_event(object_id)
        if getattr(request, "htmx", False) and request.GET.get("seen") == newest:
            return HttpResponse(status=204)
        order = Generation.objects.filter(pk=object_id).first()
        acts = ACTS if self.has_act_permission(request) else ()
        extra = {
            "newest_event": newest,
            "acts": [act for act in acts if order and act.fits(order)],
            "may_be_sample": order and may_choose(request) and bool(takes_of(order)),
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, extra)

    def of_reference_view(self, request: HttpRequest, reference: str) -> HttpResponse:
        """From a ledger entry (`generation:<id>:…`) to its order."""
        order_id = (reference.split(":") + [""])[1]
        return redirect("admin:generation_generation_change", order_id)

    # What staff may do

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("generation.change_generation")

    @admin.action(
        description=gettext_lazy("Take back the orders that have not been sent"),
        permissions=["act"],
    )
    def cancel_orders(self, request: HttpRequest, orders: Iterable[Generation]) -> None:
        self._act_on(request, orders, CANCEL)

    @admin.action(
        description=gettext_lazy("Give credits back for orders at KIE; what comes is free"),
        permissions=["act"],
    )
    def take_back_orders(self, request: HttpRequest, orders: Iterable[Generation]) -> None:
        self._act_on(request, orders, TAKE_BACK)

    @admin.action(description=TRY_AGAIN.title, permissions=["act"])
    def try_again_orders(self, request: HttpRequest, orders: Iterable[Generation]) -> None:
        self._act_on(request, orders, TRY_AGAIN)

    @admin.action(description=CLOSE.title, permissions=["act"])
    def close_orders(self, request: HttpRequest, orders: Iterable[Generation]) -> None:
        self._act_on(request, orders, CLOSE)

    def _act_on(self, request: HttpRequest, orders: Iterable[Generation], act: Act) -> None:
        """Those that it fits, as things stand."""
        orders = list(orders)
        acted_on = [order for order in orders if act.do(order, {})]
        for order in acted_on:
            self.log_change(request, order, str(act.logged))
        words = ngettext("Done for %(count)d order.", "Done for %(count)d orders.", len(acted_on))
        self.message_user(request, words % {"count": len(acted_on)}, messages.SUCCESS)
        if left := len(orders) - len(acted_on):
            words = ngettext(
                "%(count)d order is at another stage and was left as it is.",
                "%(count)d orders are at another stage and were left as they are.",
                left,
            )
            self.message_user(request, words % {"count": left}, messages.WARNING)

    def act_view(self, request: HttpRequest, order_id: str, act: Act) -> HttpResponse:
        if not self.has_act_permission(request):
            raise PermissionDenied
        order = get_object_or_404(Generation, pk=order_id)
        form = act.form(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid() and act.tried(order, form):
            values = ", ".join(str(value) for value in form.cleaned_data.values())
            self.log_change(request, order, " ".join(filter(None, [str(act.logged), values])))
            return redirect("admin:generation_generation_change", order.pk)
        return form_page(self, request, order, form, title=act.title, lead=act.lead)

    def sample_view(self, request: HttpRequest, order_id: str) -> HttpResponse:
        """A picture of a test order becomes what everybody sees who chooses the model."""
        if not may_choose(request):
            raise PermissionDenied
        order = get_object_or_404(Generation.objects.select_related("model"), pk=order_id)
        form = SampleForm(order, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            logged = form.choose()
            self.log_change(request, order.model, logged)
            messages.success(request, logged)
            return redirect("admin:generation_kiemodel_change", order.model.pk)
        lead = _("Everybody who chooses a model for a project sees it beside %(model)s.")
        lead %= {"model": order.model}
        title = _("Use as the model's sample")
        return form_page(self, request, order, form, title=title, lead=lead, answer="sample")


def _newest_event(order_id: str) -> str:
    """Every change of an order writes an event: the last one's id says what was seen."""
    newest = Event.objects.filter(generation=order_id).order_by("-pk").values_list("pk", flat=True)
    return str(newest.first() or "")
