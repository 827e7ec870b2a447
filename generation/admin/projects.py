"""A project with what it chose for its pictures."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

import projects.admin
from generation import defaults
from generation.models import ImageSettings, KieModel
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


class ImageSettingsInline(admin.StackedInline):  # type: ignore[type-arg]
    model = ImageSettings
    form = ImageSettingsForm


admin.site.unregister(Project)


@admin.register(Project)
class ProjectAdmin(projects.admin.ProjectAdmin):
    inlines = [*projects.admin.ProjectAdmin.inlines, ImageSettingsInline]
