"""The catalogue for staff: what a model can do, what it costs, and whether it still works."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import label_for_field
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from generation import prompts
from generation.admin.model_form import KieModelForm
from generation.admin.prices import PriceInline
from generation.admin.trial import TrialForm
from generation.models import Generation, KieModel, State
from generation.pricing import NoPrice, quote
from generation.templatetags.money import credits, dollars

WEEK = timedelta(days=7)
ENDED_BADLY = (State.FAILED, State.REVIEW)
NOTHING = {"total": 0, "ended": 0, "failed": 0}


def pretty(value: Any) -> SafeString:
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False))


@admin.register(KieModel)
class KieModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = KieModelForm
    inlines = [PriceInline]
    list_display = [
        "name",
        "model_id",
        "vendor",
        "is_active",
        "price_now",
        "ratio_count",
        "resolution_names",
        "orders_in_a_week",
        "failures_in_a_week",
    ]
    list_filter = ["is_active", "vendor"]
    list_per_page = 200
    search_fields = ["name", "model_id", "api_model_id", "vendor", "aliases"]
    search_help_text = gettext_lazy("Name, id, alias or provider")
    actions = ["switch_on", "switch_off"]
    readonly_fields = ["price_now", "example", "own_changes", "updated_at"]
    fieldsets = [
        (None, {"fields": ["name", "vendor", "model_id", "is_active", "price_now", "own_changes"]}),
        (
            gettext_lazy("How its request is written"),
            {
                "description": gettext_lazy(
                    "createTask's input has the prompt, the aspect ratio and the resolution in the "
                    "fields named here, and the fixed fields as they stand. A field's name that is "
                    "left empty means that the model has no such field."
                ),
                "fields": [
                    "api_model_id",
                    "ratio_field",
                    "ratios",
                    "resolution_field",
                    "resolutions",
                    "default_resolution",
                    "impossible",
                    "count_field",
                    "counts",
                    "picture_fields",
                    "price_edges",
                    "constants",
                    "example",
                ],
            },
        ),
        (
            gettext_lazy("What is known about it"),
            {
                "fields": [
                    "modality",
                    "prompt_use",
                    "prompt_min_length",
                    "prompt_max_length",
                    "aliases",
                    "quirks",
                    "source",
                    "as_of",
                    "updated_at",
                ]
            },
        ),
    ]

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[KieModel]:
        models: QuerySet[KieModel] = super().get_queryset(request)
        return models.prefetch_related("prices")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Counts the week for the whole list at once: a subquery for each model takes seconds."""
        changelist = super().get_changelist_instance(request)
        weeks = _weeks()
        for model in changelist.result_list:
            model.week = weeks.get(model.pk, NOTHING)
        return changelist

    @admin.display(description=gettext_lazy("credits now"))
    def price_now(self, model: KieModel) -> str:
        if model.pk is None:
            return "–"
        prices: dict[str, list[str]] = {}
        for resolution in model.price_names:
            prices.setdefault(_price_words(model, resolution), []).append(resolution)
        if len(prices) == 1:
            return next(iter(prices))
        return ", ".join(f"{' / '.join(names)}: {words}" for words, names in prices.items())

    @admin.display(description=gettext_lazy("ratios"))
    def ratio_count(self, model: KieModel) -> int:
        return len(model.ratios)

    @admin.display(description=gettext_lazy("resolutions"))
    def resolution_names(self, model: KieModel) -> str:
        return ", ".join(model.resolutions) or "–"

    @admin.display(description=gettext_lazy("orders in 7 days"))
    def orders_in_a_week(self, model: Any) -> int:
        return int(model.week["total"])

    @admin.display(description=gettext_lazy("failed of ended"))
    def failures_in_a_week(self, model: Any) -> str:
        failed, ended = model.week["failed"], model.week["ended"]
        return f"{failed} / {ended} ({round(100 * failed / ended)} %)" if ended else "–"

    @admin.action(description=gettext_lazy("Switch on"), permissions=["change"])
    def switch_on(self, request: HttpRequest, models: QuerySet[KieModel]) -> None:
        self._switch(request, models, True)

    @admin.action(description=gettext_lazy("Switch off"), permissions=["change"])
    def switch_off(self, request: HttpRequest, models: QuerySet[KieModel]) -> None:
        self._switch(request, models, False)

    def _switch(self, request: HttpRequest, models: QuerySet[KieModel], active: bool) -> None:
        changed = list(models.filter(is_active=not active))
        for model in changed:
            model.is_active = active
            model.save(update_fields=["is_active", "updated_at"])
            self.log_change(request, model, _("Switched on.") if active else _("Switched off."))
        words = ngettext("%(count)d model changed.", "%(count)d models changed.", len(changed))
        self.message_user(request, words % {"count": len(changed)}, messages.SUCCESS)

    # One model

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """The id stands in projects and orders: it is chosen once."""
        return [*self.readonly_fields, *(["model_id"] if obj else [])]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A model is switched off instead: its prices are history."""
        return False

    @admin.display(description=gettext_lazy("the request"))
    def example(self, model: KieModel) -> SafeString | str:
        if model.pk is None:
            return "–"
        ratio = "16:9" if "16:9" in model.ratios else next(iter(model.ratios), "")
        try:
            return pretty(prompts.request_for(model, "…", ratio, model.default_resolution))
        except KeyError as missing:
            return _("It cannot be written: %(name)s is missing.") % {"name": missing}

    @admin.display(description=gettext_lazy("changed by staff"))
    def own_changes(self, model: KieModel) -> SafeString | str:
        """Where the row differs from what the catalogue's file last loaded."""
        if not model.loaded:
            return _("Not from the catalogue's file.") if model.pk else "–"
        lines = [
            (label_for_field(column, KieModel), json.dumps(in_file, ensure_ascii=False))
            for column, in_file in model.loaded.items()
            if column != "prices" and _plain(getattr(model, column, in_file)) != in_file
        ]
        if not lines:
            return _("Nothing: as the catalogue's file has it.")
        return format_html(
            "{}{}",
            _("The catalogue's file has:"),
            format_html_join("", "<div>{}: <code>{}</code></div>", lines),
        )

    # A test order

    def may_test(self, request: HttpRequest) -> bool:
        return request.user.has_perm("generation.change_kiemodel")

    def get_urls(self) -> list[URLPattern]:
        test = path(
            "<int:model_pk>/test/",
            self.admin_site.admin_view(self.test_view),
            name="generation_kiemodel_test",
        )
        return [test, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        extra = {**(extra_context or {}), "may_test": self.may_test(request)}
        return super().change_view(request, object_id, form_url, extra)

    def test_view(self, request: HttpRequest, model_pk: int) -> HttpResponse:
        """A real order that nobody pays; it leads to the order's own page."""
        if not self.may_test(request):
            raise PermissionDenied
        model = get_object_or_404(KieModel.objects.prefetch_related("prices"), pk=model_pk)
        form = TrialForm(model, request.POST or None)
        if request.method == "POST" and form.is_valid() and (order := form.place(request.user)):
            self.log_change(request, model, _("Test order %(order)s.") % {"order": order.pk})
            return self._after_test(request, model, order)
        return render(request, "admin/form.html", self._test_context(request, model, form))

    def _after_test(self, request: HttpRequest, model: KieModel, order: Generation) -> HttpResponse:
        if request.user.has_perm("generation.view_generation"):
            return redirect("admin:generation_generation_change", order.pk)
        messages.success(request, _("Ordered: %(order)s.") % {"order": order.pk})
        return redirect("admin:generation_kiemodel_change", model.pk)

    def _test_context(
        self, request: HttpRequest, model: KieModel, form: TrialForm
    ) -> dict[str, Any]:
        lead = _("A real order at the real price: %(price)s credits. No user pays it.") % {
            "price": self.price_now(model)
        }
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": model,
            "form": form,
            "title": _("Test order"),
            "lead": lead,
            "button": _("Order"),
        }


def _weeks() -> dict[int, dict[str, Any]]:
    """For each model ordered in the last seven days: `total`, `ended` and `failed` orders."""
    recent = Generation.objects.filter(created_at__gte=timezone.now() - WEEK)
    counted = recent.values("model").annotate(
        total=Count("pk"),
        ended=Count("pk", filter=Q(state__in=(State.DONE, *ENDED_BADLY))),
        failed=Count("pk", filter=Q(state__in=ENDED_BADLY)),
    )
    return {int(row["model"]): dict(row) for row in counted}


def _price_words(model: KieModel, resolution: str) -> str:
    try:
        price = quote(model, resolution)
    except NoPrice:
        return _("no price: it cannot be ordered")
    return f"{credits(price.credits)} ({dollars(price.cost)})"


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
