"""A project with what it chose for its pictures."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

import projects.admin
from generation import defaults
from generation.admin.sharing import MemberInline
from generation.models import ImageSettings, KieModel
from generation.replacement import projects_on, uses_of
from projects.models import Project


class ImageSettingsForm(forms.ModelForm):  # type: ignore[type-arg]
    """Empty is the default. What the model cannot do is refused."""

    class Meta:
        model = ImageSettings
        fields = [
            "provider",
            "model",
            "character_aspect_ratio",
            "scene_aspect_ratio",
            "scene_resolution",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"] = forms.ChoiceField(
            label=self.fields["model"].label,
            required=False,
            choices=_models(self.instance.model),
        )

    def clean_provider(self) -> str:
        provider: str = self.cleaned_data["provider"]
        if provider not in ("", defaults.PROVIDER):
            raise ValidationError(
                _("The provider “%(name)s” is not available here."), params={"name": provider}
            )
        return provider

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        model = KieModel.objects.named(data.get("model") or defaults.MODEL)
        if model is None:  # an old project's, or no catalogue yet: orders will say so
            return data
        for field in ("character_aspect_ratio", "scene_aspect_ratio"):
            if data.get(field) and data[field] not in model.ratios:
                self.add_error(field, _choices(model.ratios))
        wanted = data.get("scene_resolution")
        if wanted and model.resolution_named(wanted) is None:
            self.add_error("scene_resolution", _choices(model.resolutions))
        return data


def _models(present: str) -> list[tuple[str, str]]:
    """Those that can be ordered, and the present one, whatever became of it."""
    active = KieModel.objects.filter(is_active=True)
    choices = {"": "–"} | {model.model_id: f"{model} ({model.model_id})" for model in active}
    choices.setdefault(present, present)
    return list(choices.items())


def _choices(names: dict[str, Any]) -> str:
    return _("The model has: %(all)s.") % {"all": ", ".join(names) or "–"}


class ModelFilter(admin.SimpleListFilter):
    """By the model that makes a project's pictures, whether its people chose it or never chose."""

    title = gettext_lazy("model")
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        models = list(KieModel.objects.all())
        uses = uses_of(models)
        return [(model.model_id, str(model)) for model in models if uses[model.pk]]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        model = KieModel.objects.named(self.value() or "")
        return rows.filter(pk__in=projects_on(model).values("pk")) if model else None


class ImageSettingsInline(admin.StackedInline):  # type: ignore[type-arg]
    model = ImageSettings
    form = ImageSettingsForm


admin.site.unregister(Project)


@admin.register(Project)
class ProjectAdmin(projects.admin.ProjectAdmin):
    inlines = [MemberInline, ImageSettingsInline]
    list_filter = [ModelFilter]
