"""What a person may send: a click on a button with a price, and a project's image settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.templatetags.money import in_credits
from generation import defaults, records
from generation.board import MOST_BY_CLICK
from generation.models import AUTO, ImageSettings, KieModel, Operation
from generation.orders import shape_of
from generation.pricing import NoPrice, Quote, percent_for, quote
from generation.records import Record


class PriceForm(forms.Form):
    """The hidden field of a button: the price in hundredths that stands on it."""

    price = forms.IntegerField(min_value=0)


class ClickForm(PriceForm):
    """And the button's own key; `variants` is how many orders it is for, at this price each."""

    key = forms.RegexField(r"\A[0-9a-f]{32}\Z", strip=False)
    variants = forms.IntegerField(min_value=1, max_value=MOST_BY_CLICK, required=False)

    def clean_variants(self) -> int:
        return self.cleaned_data["variants"] or 1


@dataclass(frozen=True)
class Offer:
    """A model on the list of models.

    `model` is None for one that is not offered any more. `prices` are those of a picture at each
    resolution, `usual` is that of the model's own; `per_kept` is what it comes to for a picture
    that is kept, in hundredths.
    """

    radio: Any
    model_id: str
    name: str
    model: KieModel | None
    prices: list[tuple[str, Quote]]
    usual: Quote | None
    record: Record

    @property
    def is_default(self) -> bool:
        return not self.model_id

    @property
    def vendor(self) -> str:
        return self.model.vendor if self.model and self.model_id else ""

    @property
    def per_kept(self) -> int | None:
        return self.record.per_kept(self.usual.credits) if self.usual else None

    @property
    def at(self) -> str:
        """The resolution that `per_kept` is about, where there are several prices."""
        return self.model.default_resolution if self.model and len(self.prices) > 1 else ""


class ImageSettingsForm(forms.ModelForm):  # type: ignore[type-arg]
    """A project's image settings, of which only what the model can do is offered.

    A value that the model does not have gives way to the default, and `replaced` names it.
    """

    class Meta:
        model = ImageSettings
        fields = [
            "provider",
            "model",
            "scene_aspect_ratio",
            "character_aspect_ratio",
            "scene_resolution",
        ]

    RATIOS = {
        "scene_aspect_ratio": (gettext_lazy("Aspect ratio of scenes"), defaults.SCENE_RATIO),
        "character_aspect_ratio": (
            gettext_lazy("Aspect ratio of characters"),
            defaults.CHARACTER_RATIO,
        ),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        active = KieModel.objects.filter(is_active=True).prefetch_related("prices")
        self.catalogue = [model for model in active if model.can(Operation.GENERATE)]
        self.percent = percent_for(self.instance.project.owner)
        self.replaced: list[str] = []
        self._offer_providers()
        self._offer_models()
        for name, (label, default) in self.RATIOS.items():
            self._offer_ratios(name, str(label), default)
        self._offer_resolutions()

    @property
    def offers(self) -> Iterator[Offer]:
        """The radio buttons of the models."""
        by_id = {model.model_id: model for model in self.catalogue}
        names = {model.model_id: model.name for model in (*self.catalogue, self.chosen) if model}
        for radio in self["model"]:
            model_id = str(radio.data["value"])
            model = by_id.get(model_id or defaults.MODEL)
            yield Offer(
                radio=radio,
                model_id=model_id,
                name=names.get(model_id or defaults.MODEL, model_id),
                model=model,
                prices=price_list(model, self.percent) if model else [],
                usual=_price(model, model.default_resolution, self.percent) if model else None,
                record=self._record_of(model),
            )

    @property
    def ratio_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.RATIOS if name in self.fields]

    @property
    def price(self) -> Quote | None:
        """What a picture costs with what stands in the form now."""
        resolution = self["scene_resolution"].value() if "scene_resolution" in self.fields else ""
        if self.chosen is None:
            return None
        return _price(self.chosen, resolution or self.chosen.default_resolution, self.percent)

    @property
    def record(self) -> Record:
        """How the chosen model has done."""
        return self._record_of(self.chosen)

    @property
    def per_kept(self) -> int | None:
        """What a picture that is kept comes to, in hundredths."""
        price = self.price
        return self.record.per_kept(price.credits) if price else None

    def clean_model(self) -> str:
        model_id: str = self.cleaned_data["model"]
        if self.chosen is None or not self.chosen.is_active:
            raise ValidationError(_("This model is not offered any more. Choose another one."))
        if not self.chosen.can(Operation.GENERATE):
            raise ValidationError(_("This model only works on pictures that are there."))
        if not price_list(self.chosen, self.percent):
            raise ValidationError(_("This model has no price yet, so it cannot be ordered."))
        return model_id

    def clean(self) -> dict[str, Any]:
        super().clean()
        model, data = self.chosen, self.cleaned_data
        if model is None:
            return data
        resolution = data.get("scene_resolution") or model.default_resolution
        for name, (_label, default) in self.RATIOS.items():
            ratio = data.get(name) or default
            if name in data and [ratio, resolution] in model.impossible:
                self.add_error(
                    name,
                    _("%(model)s cannot do %(ratio)s at %(resolution)s.")
                    % {"model": model, "ratio": ratio, "resolution": resolution},
                )
        return data

    def save(self, commit: bool = True) -> ImageSettings:
        if "scene_resolution" not in self.fields:
            self.instance.scene_resolution = ""  # the model has none, and would refuse the old one
        own: ImageSettings = super().save(commit)
        return own

    @cached_property
    def _records(self) -> dict[int, Record]:
        return records.all_records()

    def _record_of(self, model: KieModel | None) -> Record:
        return self._records.get(model.pk, records.NOTHING) if model else records.NOTHING

    # What is offered

    def _offer_providers(self) -> None:
        choices = [("", _("Default (%(value)s)") % {"value": defaults.PROVIDER})]
        choices += [(defaults.PROVIDER, defaults.PROVIDER)]
        self.fields["provider"] = forms.ChoiceField(
            choices=choices, required=False, label=_("Provider")
        )
        self._give_way("provider", {value for value, _words in choices}, "")

    def _offer_models(self) -> None:
        wanted = self._wanted("model")
        self.chosen = KieModel.objects.prefetch_related("prices").named(wanted or defaults.MODEL)
        if wanted and self.chosen:
            wanted = self.chosen.model_id  # settings may hold an alias
        ids = ["", *(model.model_id for model in self.catalogue)]
        if wanted not in ids:
            ids.insert(1, wanted)
        self.fields["model"] = forms.ChoiceField(
            choices=[(model_id, model_id) for model_id in ids],
            required=False,
            label=_("Model"),
            widget=forms.RadioSelect,
        )
        self.initial["model"] = wanted

    def _offer_ratios(self, name: str, label: str, default: str) -> None:
        if self.chosen is None or not self.chosen.ratio_field:
            del self.fields[name]
            return
        has_default = default in self.chosen.ratios
        choices = [("", _("Default (%(value)s)") % {"value": default})] if has_default else []
        choices += [
            (ratio, ratio) for ratio in sorted(set(self.chosen.ratios) - {AUTO}, key=_shape)
        ]
        self.fields[name] = forms.ChoiceField(
            choices=choices,
            required=not has_default,
            label=label,
            help_text=default,
            widget=forms.RadioSelect,
        )
        self._give_way(name, {value for value, _words in choices}, choices[0][0])

    def _offer_resolutions(self) -> None:
        model = self.chosen
        if model is None or not model.resolutions:
            del self.fields["scene_resolution"]
            return
        usual = _("Default (%(value)s)") % {"value": model.default_resolution}
        choices = [("", usual)]
        for resolution, price in _prices(model, self.percent):
            words = f"{resolution} · {in_credits(price.credits)}" if price else resolution
            choices.append((resolution, words))
        self.fields["scene_resolution"] = forms.ChoiceField(
            choices=choices, required=False, label=_("Resolution"), widget=forms.RadioSelect
        )
        own = self._wanted("scene_resolution")
        self.initial["scene_resolution"] = model.resolution_named(own) or own  # "2k" is "2K"
        self._give_way("scene_resolution", {value for value, _words in choices}, "")

    def _wanted(self, name: str) -> str:
        if self.is_bound:
            return str(self.data.get(name, ""))
        return str(self.initial.get(name) or "")

    def _give_way(self, name: str, offered: set[str], instead: str) -> None:
        wanted = str(self.initial.get(name) or "")
        if wanted in offered:
            return
        self.initial[name] = instead
        if wanted and not self.is_bound:
            self.replaced.append(wanted)


def price_list(model: KieModel, percent: int) -> list[tuple[str, Quote]]:
    """(resolution, price), or one ("", price) where it is the same for all; empty without any."""
    known = [(name, price) for name, price in _prices(model, percent) if price]
    if len({price.credits for _r, price in known}) == 1:
        return [("", known[0][1])]
    return known


def _prices(model: KieModel, percent: int) -> list[tuple[str, Quote | None]]:
    """The resolutions from the cheapest; PostgreSQL's jsonb has no order of its own to show."""
    prices = [(name, _price(model, name, percent)) for name in model.price_names]
    return sorted(prices, key=lambda pair: (pair[1].credits if pair[1] else 0, pair[0]))


def _price(model: KieModel, name: str, percent: int) -> Quote | None:
    try:
        return quote(model, name, percent=percent)
    except NoPrice:
        return None


def _shape(ratio: str) -> float:
    """From the widest to the tallest."""
    return -shape_of(ratio)
