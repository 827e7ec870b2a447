"""A test order: one real picture of a model, which no user pays."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django import forms
from django.utils.translation import gettext_lazy

from generation import orders
from generation.models import Generation, KieModel
from generation.wishes import OrderRefused, Wish


class TrialForm(forms.Form):
    """One picture of a model. `key` is made with the form: sent twice, it orders once."""

    FIELDS = {"prompt": "prompt", "aspectRatio": "aspect_ratio", "resolution": "resolution"}

    prompt = forms.CharField(
        label=gettext_lazy("Prompt"),
        initial="A beautiful landscape, a desert at sunset, 35 mm film",
        widget=forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"}),
    )
    aspect_ratio = forms.ChoiceField(label=gettext_lazy("Aspect ratio"))
    resolution = forms.ChoiceField(label=gettext_lazy("Resolution"))
    key = forms.CharField(
        widget=forms.HiddenInput, max_length=100, initial=lambda: f"admin:{uuid4().hex}"
    )

    def __init__(self, model: KieModel, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model = model
        self._offer("aspect_ratio", list(model.ratios), "16:9")
        self._offer("resolution", list(model.resolutions), model.default_resolution)

    def _offer(self, name: str, choices: list[str], usual: str) -> None:
        if not choices:
            del self.fields[name]
            return
        self.fields[name].choices = [(choice, choice) for choice in choices]  # type: ignore[attr-defined]
        self.initial[name] = usual if usual in choices else choices[0]

    def place(self, user: Any) -> Generation | None:
        """The order; None, with the error in the form, when it was refused."""
        data = self.cleaned_data
        wish = Wish(
            prompt=data["prompt"],
            model=self.model.model_id,
            aspect_ratio=data.get("aspect_ratio", ""),
            resolution=data.get("resolution", ""),
            free=True,
        )
        try:
            # The model itself, so that one that is switched off can be tried before it is offered.
            order = orders.prepare(wish, orders.basis_for(wish, self.model))
            return orders.place(order, orders.Terms(user=user, key=data["key"]))
        except OrderRefused as refused:
            field = self.FIELDS.get(refused.field)
            self.add_error(field if field in self.fields else None, refused.words)
        return None
