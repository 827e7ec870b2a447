"""What a person may send: a click on a button with a price, and a project's image settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.amounts import credits_text
from credits.fields import CreditsField
from generation import defaults
from generation.models import AUTO, ImageSettings, KieModel, Operation
from generation.orders import shape_of
from generation.pricing import NoPrice, Quote, percent_for, quote
from generation.statement import Selection, Statement
from generation.templatetags.money import in_credits
from projects.models import Invitation, Member, Role


class PriceForm(forms.Form):
    """The hidden field of a button: the price in hundredths that stands on it."""

    price = forms.IntegerField(min_value=0)


class ClickForm(PriceForm):
    """And the button's own key."""

    key = forms.RegexField(r"\A[0-9a-f]{32}\Z", strip=False)


class SeatForm(forms.Form):
    """What a member may do, and spend. Cleans to `role` and `allowance`, as in projects' Seat."""

    role = forms.TypedChoiceField(
        label=gettext_lazy("Role"),
        coerce=int,
        choices=[
            (Role.EDITOR.value, gettext_lazy("Editor: writes scenes, orders pictures")),
            (Role.VIEWER.value, gettext_lazy("Viewer: only looks")),
        ],
        initial=Role.EDITOR,
        widget=forms.RadioSelect,
    )
    limit = forms.ChoiceField(
        label=gettext_lazy("What they may spend of your credits"),
        choices=[
            ("ask", gettext_lazy("Nothing by themselves: they ask you for every picture")),
            ("none", gettext_lazy("As much as they like")),
            ("some", gettext_lazy("Up to so many credits, then they ask")),
        ],
        initial="ask",
        widget=forms.RadioSelect,
    )
    amount = CreditsField(label=gettext_lazy("Credits"), required=False)

    @staticmethod
    def values_of(seat: Member | Invitation) -> dict[str, Any]:
        """What the fields hold for a seat that there is."""
        limit = "none" if seat.allowance is None else "some" if seat.allowance else "ask"
        amount = credits_text(seat.allowance) if seat.allowance else ""
        return {"role": seat.role, "limit": limit, "amount": amount}

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        limit, amount = data.get("limit"), data.get("amount")
        if limit == "some" and not amount and "amount" not in self.errors:
            self.add_error("amount", _("Say how many credits."))
        data["allowance"] = {"none": None, "ask": 0}.get(limit or "", amount)
        return data


class InviteForm(SeatForm):
    email = forms.EmailField(
        label=gettext_lazy("E-mail address"),
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )

    field_order = ["email"]

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        return email.lower()


class AskedField(forms.Field):
    """Of a repeated field `<id of the ask>:<price>`; cleans to pairs of them."""

    widget = forms.MultipleHiddenInput

    def clean(self, value: Any) -> list[tuple[str, int]]:
        pairs = [re.fullmatch(r"([a-z0-9]{1,32}):([0-9]{1,18})", text) for text in value or ()]
        if not pairs or None in pairs:
            raise ValidationError(_("This button is broken. Reload the page."))
        return [(pair[1], int(pair[2])) for pair in pairs if pair]


class AnswerForm(forms.Form):
    """The owner's answer to one ask or several, each with the price that stood on the button."""

    ask = AskedField()
    do = forms.ChoiceField(choices=[("approve", "approve"), ("decline", "decline")])
    word = forms.CharField(max_length=300, required=False)


class DayInput(forms.DateInput):
    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")  # what a browser sends, in every language


class SelectionForm(forms.Form):
    """Which entries of a statement; it offers only what occurs in it."""

    project = forms.ChoiceField(label=gettext_lazy("Project"), required=False)
    subject = forms.ChoiceField(label=gettext_lazy("Scene or character"), required=False)
    model = forms.ChoiceField(label=gettext_lazy("Model"), required=False)
    person = forms.ChoiceField(label=gettext_lazy("Ordered by"), required=False)
    since = forms.DateField(
        label=gettext_lazy("From"), required=False, widget=DayInput(), input_formats=["%Y-%m-%d"]
    )
    until = forms.DateField(
        label=gettext_lazy("Until"), required=False, widget=DayInput(), input_formats=["%Y-%m-%d"]
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Entries"),
        required=False,
        choices=[
            ("", gettext_lazy("All")),
            ("capture", gettext_lazy("Charged")),
            ("hold", gettext_lazy("Held")),
            ("release", gettext_lazy("Given back")),
            ("grant", gettext_lazy("Granted or adjusted")),
        ],
    )

    def __init__(self, *args: Any, statement: Statement, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        projects = list(statement.projects())
        self._offer("project", projects)
        self._offer("model", statement.models())
        self._offer("person", statement.people())
        project = self.data.get("project", "")
        if project in [row.pk for row in projects]:
            self._offer("subject", [*statement.scenes(project), *statement.characters(project)])
        else:
            del self.fields["subject"]  # of which project?

    @property
    def selection(self) -> Selection:
        return Selection(**self.cleaned_data)

    @property
    def selects(self) -> bool:
        """Something less than everything."""
        return self.is_valid() and self.selection != Selection()

    def _offer(self, name: str, rows: Iterable[Model]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", _("All")), *((str(row.pk), str(row)) for row in rows)]


@dataclass(frozen=True)
class Offer:
    """A model on the list of models, with what a picture costs at each resolution."""

    radio: Any
    vendor: str
    name: str
    model_id: str
    prices: list[tuple[str, Quote]]
    note: str = ""


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
        for radio in self["model"]:
            model_id = str(radio.data["value"])
            model = by_id.get(model_id or defaults.MODEL)
            note = "" if model else _("not offered any more")
            yield Offer(
                radio=radio,
                vendor=model.vendor if model and model_id else "",
                name=model.name if model else model_id,
                model_id=model_id,
                prices=price_list(model, self.percent) if model else [],
                note=note if model_id else _("default"),
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
