"""The catalogue for staff: what a model can do, what it costs, how it does, whether it is on."""

from __future__ import annotations

import json
from typing import Any

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

from credits.templatetags.money import credits
from generation import account
from generation.admin import model_facts
from generation.admin.example import example_of
from generation.admin.form import form_page, keep_choice
from generation.admin.model_facts import NOTHING
from generation.admin.model_filters import OperationFilter, OwnFilter, TroubleFilter
from generation.admin.model_form import KieModelForm
from generation.admin.prices import PriceInline
from generation.admin.switching import SwitchOffForm
from generation.admin.trial import TrialForm
from generation.models import Generation, KieModel
from generation.templatetags.clock import duration
from projects.admin import picture_of


def pretty(value: Any) -> SafeString:
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False))


@admin.register(KieModel)
class KieModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = KieModelForm
    inlines = [PriceInline]
    list_display = [
        "name_and_id",
        "is_active",
        "abilities",
        "credits_now",
        "orders_in_a_week",
        "uses",
        "speed",
        "failures",
        "kept",
    ]
    list_filter = ["is_active", OperationFilter, TroubleFilter, OwnFilter, "vendor"]
    list_display_links = ["name_and_id"]
    list_per_page = 200
    search_fields = ["name", "model_id", "api_model_id", "vendor", "aliases"]
    search_help_text = gettext_lazy("Name, id, alias or provider")
    actions = ["switch_on", "switch_off"]
    readonly_fields = [
        "abilities",
        "price_now",
        "example",
        "own_changes",
        "updated_at",
        "uses",
        "speed",
        "failures",
        "kept",
        "sample_shown",
    ]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "name",
                    "vendor",
                    "model_id",
                    "is_active",
                    "replacement",
                    "uses",
                    "abilities",
                    "price_now",
                    "sample_shown",
                    "own_changes",
                ]
            },
        ),
        (
            gettext_lazy("How it does here"),
            {
                "description": gettext_lazy("From the orders of the last 90 days."),
                "fields": ["speed", "failures", "kept"],
            },
        ),
        (
            gettext_lazy("How its request is written"),
            {
                "description": gettext_lazy(
                    "createTask's input has the prompt, the aspect ratio, the resolution, the "
                    "count and the pictures in the fields named here, and the fixed fields as they "
                    "stand. A field's name that is left empty means that the model has no such "
                    "field."
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

    # What is shown

    def get_queryset(self, request: HttpRequest) -> QuerySet[KieModel]:
        models: QuerySet[KieModel] = super().get_queryset(request)
        return models.prefetch_related("prices")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Asks for the whole list at once: a subquery for each model takes seconds."""
        changelist = super().get_changelist_instance(request)
        model_facts.know(changelist.result_list)
        return changelist

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        model = super().get_object(request, object_id, from_field)
        if model is not None:
            model_facts.know([model])
        return model

    @admin.display(description=gettext_lazy("model"), ordering="name")
    def name_and_id(self, model: KieModel) -> SafeString:
        return format_html("{}<br><small>{}</small>", model.name, model.model_id)

    @admin.display(description=gettext_lazy("what it can do"))
    def abilities(self, model: KieModel) -> str:
        return ", ".join(str(operation.label) for operation in model.operations) or NOTHING

    @admin.display(description=gettext_lazy("credits now"))
    def price_now(self, model: KieModel) -> str:
        return model_facts.prices(model, with_dollars=True)

    @admin.display(description=gettext_lazy("credits now"))
    def credits_now(self, model: KieModel) -> str:
        """Short, for the list."""
        return model_facts.prices(model, with_dollars=False)

    @admin.display(description=gettext_lazy("in 7 days"))
    def orders_in_a_week(self, model: Any) -> int:
        return int(model.week)

    @admin.display(description=gettext_lazy("projects"))
    def uses(self, model: Any) -> SafeString | str:
        """The projects whose pictures it makes, as a list."""
        if not getattr(model, "used", 0):
            return NOTHING
        address = reverse("admin:projects_project_changelist", query={"model": model.model_id})
        return format_html('<a href="{}">{}</a>', address, model.used)

    @admin.display(description=gettext_lazy("usually / slow"))
    def speed(self, model: KieModel) -> str:
        record = model_facts.record_of(model)
        if record.usual is None or record.slow is None:
            return NOTHING
        return f"{duration(record.usual)} / {duration(record.slow)}"

    @admin.display(description=gettext_lazy("failed of ended"))
    def failures(self, model: KieModel) -> str:
        record = model_facts.record_of(model)
        return model_facts.share(record.failed, record.ended, record.failure_percent)

    @admin.display(description=gettext_lazy("kept → credits each"))
    def kept(self, model: KieModel) -> str:
        record, costs = model_facts.record_of(model), model_facts.per_kept(model)
        words = model_facts.share(record.kept, record.takes, record.kept_percent)
        return f"{words} → {credits(costs)}" if costs else words

    @admin.display(description=gettext_lazy("sample picture"))
    def sample_shown(self, model: KieModel) -> SafeString | str:
        if model.sample_id is None:
            return _("None: the page of a test order that is done makes its picture the sample.")
        return picture_of(model.sample_id)

    @admin.display(description=gettext_lazy("the request"))
    def example(self, model: KieModel) -> SafeString | str:
        if model.pk is None:
            return NOTHING
        try:
            return pretty(example_of(model))
        except KeyError as missing:
            return _("It cannot be written: %(name)s is missing.") % {"name": missing}

    @admin.display(description=gettext_lazy("changed by staff"))
    def own_changes(self, model: KieModel) -> SafeString | str:
        """Where the row differs from what the catalogue's file last loaded."""
        if not model.loaded:
            return _("Not from the catalogue's file.") if model.pk else NOTHING
        lines = list(model_facts.in_file(model))
        if not lines:
            return _("Nothing: as the catalogue's file has it.")
        return format_html(
            "{}{}",
            _("The catalogue's file has:"),
            format_html_join("", "<div>{}: <code>{}</code></div>", lines),
        )

    # What staff may do

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """The id stands in projects and orders: it is chosen once. Whether the model is offered is
        switched on a page that asks what takes its place."""
        return [*self.readonly_fields, *(["model_id", "is_active"] if obj else [])]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A model is switched off instead: its prices are history."""
        return False

    def may_act(self, request: HttpRequest) -> bool:
        return request.user.has_perm("generation.change_kiemodel")

    def get_urls(self) -> list[URLPattern]:
        def address(route: str, view: Any, name: str) -> Any:
            return path(route, self.admin_site.admin_view(view), name=f"generation_kiemodel_{name}")

        return [
            address("account/ask/", self.ask_account_view, "ask_account"),
            address("<int:model_pk>/test/", self.test_view, "test"),
            address("<int:model_pk>/switch/", self.switch_view, "switch"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        extra = {**(extra_context or {}), "may_act": self.may_act(request)}
        return super().change_view(request, object_id, form_url, extra)

    def ask_account_view(self, request: HttpRequest) -> HttpResponse:
        """A worker asks KIE what is left; the page does not wait for it."""
        if not self.may_act(request):
            raise PermissionDenied
        if request.method == "POST":
            account.ask_soon()
            messages.success(request, _("KIE is being asked. Look again in a moment."))
        return redirect("admin:generation_kiemodel_changelist")

    # On and off

    @admin.action(description=gettext_lazy("Switch on"), permissions=["change"])
    def switch_on(self, request: HttpRequest, models: QuerySet[KieModel]) -> None:
        switched_on = list(models.filter(is_active=False))
        for model in switched_on:
            self._switch_on(request, model)
        self._say_how_many(request, len(switched_on))

    @admin.action(description=gettext_lazy("Switch off"), permissions=["change"])
    def switch_off(self, request: HttpRequest, models: QuerySet[KieModel]) -> HttpResponse | None:
        """Asks what takes their place, on a page between."""
        form = SwitchOffForm(
            list(models.filter(is_active=True)), request.POST if "switch" in request.POST else None
        )
        if not form.models:
            self._say_how_many(request, 0)
            return None
        keep_choice(form, request.POST)
        if not form.is_valid():
            return self._switch_off_page(request, None, form)
        self._switch_off(request, form)
        return None

    def switch_view(self, request: HttpRequest, model_pk: int) -> HttpResponse:
        if not self.may_act(request):
            raise PermissionDenied
        model = get_object_or_404(KieModel, pk=model_pk)
        if model.is_active:
            form = SwitchOffForm([model], request.POST if request.method == "POST" else None)
            if not form.is_valid():
                return self._switch_off_page(request, model, form)
            self._switch_off(request, form)
        elif "on" in request.POST:  # a second click on "Switch off" is none on "Switch on"
            self._switch_on(request, model)
        return redirect("admin:generation_kiemodel_change", model_pk)

    def _switch_on(self, request: HttpRequest, model: KieModel) -> None:
        model.is_active = True
        model.save(update_fields=["is_active", "updated_at"])
        self.log_change(request, model, _("Switched on."))

    def _switch_off(self, request: HttpRequest, form: SwitchOffForm) -> None:
        switched_off = form.switch_off()
        for model, words in switched_off:
            self.log_change(request, model, words)
        self._say_how_many(request, len(switched_off))

    def _say_how_many(self, request: HttpRequest, count: int) -> None:
        words = ngettext("%(count)d model changed.", "%(count)d models changed.", count)
        self.message_user(request, words % {"count": count}, messages.SUCCESS)

    def _switch_off_page(
        self, request: HttpRequest, model: KieModel | None, form: SwitchOffForm
    ) -> HttpResponse:
        return form_page(
            self,
            request,
            model,
            form,
            title=_("Switch off"),
            answer="switch",
            lead=_(
                "It is not offered any more, and new orders with it are refused; those that are "
                "placed go on. The projects that use it are told what takes its place, and change "
                "only when their people say so."
            ),
        )

    # A test order

    def test_view(self, request: HttpRequest, model_pk: int) -> HttpResponse:
        """A real order that nobody pays; it leads to the order's own page."""
        if not self.may_act(request):
            raise PermissionDenied
        model = get_object_or_404(KieModel.objects.prefetch_related("prices"), pk=model_pk)
        form = TrialForm(model, request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid() and (order := form.place(request.user)):
            self.log_change(request, model, _("Test order %(order)s.") % {"order": order.pk})
            return self._after_test(request, model, order)
        lead = _("A real order at the real price in credits: %(price)s. No user pays it.") % {
            "price": self.price_now(model)
        }
        title, button = _("Test order"), _("Order")
        return form_page(self, request, model, form, title=title, lead=lead, button=button)

    def _after_test(self, request: HttpRequest, model: KieModel, order: Generation) -> HttpResponse:
        if request.user.has_perm("generation.view_generation"):
            return redirect("admin:generation_generation_change", order.pk)
        messages.success(request, _("Ordered: %(order)s.") % {"order": order.pk})
        return redirect("admin:generation_kiemodel_change", model.pk)
