"""What holds orders up: pauses of all ordering, set when KIE refuses our account or here by hand,
and models that fail order after order."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.admin import ReadOnly
from generation import breaker, defaults
from generation.admin.form import form_page
from generation.models import Breaker, Generation, Pause, State
from projects import live


class PauseForm(forms.ModelForm):  # type: ignore[type-arg]
    provider = forms.ChoiceField(
        label=gettext_lazy("provider"), choices=[(defaults.PROVIDER, defaults.PROVIDER)]
    )

    class Meta:
        model = Pause
        fields = ["provider", "why"]


@admin.register(Pause)
class PauseAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """To take a pause away is to delete it, on a page that says what happens then."""

    form = PauseForm
    list_display = ["provider", "end", "why", "since"]
    readonly_fields = ["since"]
    actions = None

    def get_fields(self, request: HttpRequest, obj: Pause | None = None) -> Any:
        return ["provider", "why", "since"] if obj else ["provider", "why"]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A provider is paused once: there is no other to add."""
        extra = {**(extra_context or {}), "show_save_and_add_another": False}
        return super().add_view(request, form_url, extra)

    def has_change_permission(self, request: HttpRequest, obj: Pause | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Pause, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        live.tell(live.EVERYBODY, "site")

    def delete_model(self, request: HttpRequest, obj: Pause) -> None:
        super().delete_model(request, obj)
        live.tell(live.EVERYBODY, "site")

    @admin.display(description="")
    def end(self, pause: Pause) -> SafeString:
        address = reverse("admin:generation_pause_delete", args=[pause.pk])
        return format_html('<a href="{}">{}</a>', address, _("Let ordering go on"))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Its button says what it does; "Delete" would be another word for it."""
        extra = {**(extra_context or {}), "show_delete": False}
        return super().change_view(request, object_id, form_url, extra)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        pause = self.get_object(request, object_id)
        waiting = Generation.objects.filter(state=State.QUEUED, provider=pause and pause.provider)
        extra = {
            **(extra_context or {}),
            "title": _("Let ordering go on"),
            "waiting": waiting.count(),
        }
        return super().delete_view(request, object_id, extra)


@admin.register(Breaker)
class BreakerAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """How the models do at KIE. One that fails too often is sent one order a minute, to try."""

    list_display = ["model", "held_back", "failures", "why", "next_try_at"]
    list_select_related = ["model"]
    ordering = ["-failures", "model"]
    fields = ["model", "held_back", "failures", "why", "next_try_at", "waiting"]

    @admin.display(description=gettext_lazy("held back"), ordering="failures")
    def held_back(self, row: Breaker) -> str:
        """In words: a green tick would say that all is well with it."""
        return _("one order a minute") if self.is_held(row) else "–"

    def is_held(self, row: Breaker) -> bool:
        return row.failures >= breaker.TRIPS_AT

    @admin.display(description=gettext_lazy("orders that wait"))
    def waiting(self, row: Breaker) -> int:
        return Generation.objects.filter(state=State.QUEUED, model=row.model).count()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.try_view)
        return [
            path("<int:pk>/try/", view, name="generation_breaker_try"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        may_try = self.may_try(request) and row is not None and self.is_held(row)
        extra = {**(extra_context or {}), "may_try": may_try}
        return super().change_view(request, object_id, form_url, extra)

    def may_try(self, request: HttpRequest) -> bool:
        return request.user.has_perm("generation.change_breaker")

    def try_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.may_try(request):
            raise PermissionDenied
        row = get_object_or_404(Breaker.objects.select_related("model"), pk=pk)
        if request.method == "POST":
            if breaker.try_now(row.model):
                self.log_change(request, row, _("Tried once more."))
            messages.success(request, _("The next order of this model is sent now."))
            return redirect("admin:generation_breaker_change", pk)
        return form_page(
            self,
            request,
            row,
            forms.Form(),
            title=_("Try again now"),
            lead=_(
                "The next order that waits for this model is sent at once. If its picture comes, "
                "all the others follow."
            ),
        )
