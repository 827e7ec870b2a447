"""Switching models off, with the ones that take their place in the projects that use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from generation.admin.model_form import ModelChoiceField, may_replace
from generation.models import KieModel, Operation
from generation.replacement import uses_of


class SwitchOffForm(forms.Form):
    """For each model that is switched off, what its projects are offered instead."""

    def __init__(self, models: Sequence[KieModel], data: Any = None) -> None:
        super().__init__(data)
        self.models = models
        others = KieModel.objects.filter(is_active=True).exclude(pk__in=[m.pk for m in models])
        uses, there = uses_of(models), list(others)
        for model in models:
            self.fields[_name(model)] = ModelChoiceField(
                KieModel.objects.filter(pk__in=may_replace(model, there)),
                label=str(model),
                required=False,
                empty_label=_("nothing: their people choose"),
                initial=model.replacement_id,
                help_text=_used_by(uses[model.pk]) if model.can(Operation.GENERATE) else "",
            )

    def switch_off(self) -> list[tuple[KieModel, str]]:
        """What was done to each of them, in words for its history."""
        return [(model, self._switch_off(model)) for model in self.models]

    def _switch_off(self, model: KieModel) -> str:
        model.is_active = False
        model.replacement = self.cleaned_data[_name(model)]
        model.save(update_fields=["is_active", "replacement", "updated_at"])
        if model.replacement is None:
            return _("Switched off.")
        return _("Switched off; %(model)s takes its place.") % {"model": model.replacement}


def _name(model: KieModel) -> str:
    return f"instead_of_{model.pk}"


def _used_by(count: int) -> str:
    words = ngettext("%(count)d project uses it.", "%(count)d projects use it.", count)
    return words % {"count": count}
