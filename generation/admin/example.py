"""A request as a model's row writes it, for those who look whether the row is right."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from generation import prompts
from generation.models import KieModel, PictureField, PromptUse
from generation.references import STANDS_FOR, Sent
from projects.models import Take


def example_of(model: KieModel) -> dict[str, Any]:
    """With everything in it that may be. KeyError where the row lacks a value."""
    resolution = model.default_resolution
    possible = [r for r in model.ratios if [r, resolution] not in model.impossible]
    ratio = "16:9" if "16:9" in possible else next(iter(possible), "")
    prompt = "" if model.prompt_use == PromptUse.NONE else "…"
    fields = [f for f in model.takes.values() if resolution not in f.not_at]
    pictures = [_stand_in(field) for field in fields for _n in range(max(1, field.min))]
    return prompts.request_for(model, prompt, ratio, resolution, 1, pictures)


def _stand_in(field: PictureField) -> Sent:
    value = _("KIE's task that made the picture") if field.task_of else f"{STANDS_FOR}…"
    return Sent(field.slot, Take(), value)
