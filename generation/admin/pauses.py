"""Pauses of ordering: set by the program when KIE refuses our account, or here by hand."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy

from generation import defaults
from generation.models import Generation, Pause, State


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
    list_display = ["provider", "why", "since"]
    fields = ["provider", "why", "since"]
    readonly_fields = ["since"]
    actions = None

    def has_change_permission(self, request: HttpRequest, obj: Pause | None = None) -> bool:
        return False

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        pause = self.get_object(request, object_id)
        waiting = Generation.objects.filter(state=State.QUEUED, provider=pause and pause.provider)
        extra = {**(extra_context or {}), "waiting": waiting.count()}
        return super().delete_view(request, object_id, extra)
