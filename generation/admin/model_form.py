"""What staff may write about a model. What would make a request wrong is refused, by field.

The catalogue's file has the same rules (`generation/catalogue/reading.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from generation.models import KieModel, Price
from generation.prompts import is_text

RATIO = re.compile(r"\d{1,2}:\d{1,2}")
LONGEST_RESOLUTION = Price._meta.get_field("resolution").max_length or 0


class LinesField(forms.CharField):
    """A list of texts, one on each line."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"})
        super().__init__(**{"widget": widget, "required": False, **kwargs})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)

    def clean(self, value: Any) -> Any:
        """A list of str, without empty lines."""
        lines = [line.strip() for line in super().clean(value).splitlines()]
        return [line for line in lines if line]


class JsonField(forms.JSONField):
    """JSON of one kind (dict or list), shown in lines; a key that stands twice is refused."""

    def __init__(self, kind: type, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 6, "class": "vLargeTextField json"})
        super().__init__(**{"widget": widget, "required": False, **kwargs})
        self.kind = kind

    def bound_data(self, data: Any, initial: Any) -> Any:
        return data  # as it was typed, with whatever is wrong in it

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)

    def clean(self, value: Any) -> Any:
        parsed = super().clean(value)
        if parsed is None:
            return self.kind()
        json.loads(value, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if not isinstance(parsed, self.kind):
            raise ValidationError(
                _("Write an object: {…}.") if self.kind is dict else _("Write a list: […].")
            )
        if not is_text(json.dumps(parsed, ensure_ascii=False).replace("\\u0000", "\0")):
            raise ValidationError(_("There are characters in it that are no text."))
        return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _value in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValidationError(_("“%(key)s” stands twice."), params={"key": key})
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise ValidationError(_("%(name)s is not JSON."), params={"name": name})


class KieModelForm(forms.ModelForm):  # type: ignore[type-arg]
    aliases = LinesField(
        label=gettext_lazy("Aliases"),
        help_text=gettext_lazy("Other ids that mean this model, one on each line."),
    )
    modality = LinesField(
        label=gettext_lazy("Modality"),
        required=True,
        initial=["text-to-image"],
        help_text=gettext_lazy("One on each line, e.g. text-to-image."),
    )
    quirks = LinesField(
        label=gettext_lazy("Quirks"),
        help_text=gettext_lazy("What one should know about this model, one on each line."),
    )
    ratios = JsonField(
        dict,
        label=gettext_lazy("Aspect ratios"),
        help_text=gettext_lazy('Our ratio to the value that is sent: {"16:9": "landscape_16_9"}.'),
    )
    resolutions = JsonField(
        dict,
        label=gettext_lazy("Resolutions"),
        help_text=gettext_lazy('Our resolution to the value that is sent: {"4K": "high"}.'),
    )
    impossible = JsonField(
        list,
        label=gettext_lazy("Impossible pairs"),
        help_text=gettext_lazy('Ratio and resolution that do not go together: [["1:1", "4K"]].'),
    )
    constants = JsonField(
        dict,
        label=gettext_lazy("Fixed fields"),
        help_text=gettext_lazy('Sent with every order as they are: {"nsfw_checker": false}.'),
    )

    class Meta:
        model = KieModel
        fields = "__all__"  # noqa: DJ007 - the admin's fieldsets say which

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        for field, faults in (
            ("model_id", self._id_faults),
            ("aliases", self._alias_faults),
            ("ratios", self._ratio_faults),
            ("resolutions", self._resolution_faults),
            ("default_resolution", self._default_faults),
            ("impossible", self._pair_faults),
            ("constants", self._constant_faults),
        ):
            if field in data:
                for fault in list(faults(data)):
                    self.add_error(field, fault)
        return data

    def _others(self) -> Any:
        return KieModel.objects.exclude(pk=self.instance.pk).only("model_id", "aliases", "name")

    def _id_faults(self, data: dict[str, Any]) -> Iterator[str]:
        for other in self._others():
            if data["model_id"] in other.aliases:
                yield _("This id is an alias of %(model)s.") % {"model": other}

    def _alias_faults(self, data: dict[str, Any]) -> Iterator[str]:
        taken = {data.get("model_id") or self.instance.model_id: _("this model itself")}
        for other in self._others():
            taken |= dict.fromkeys([other.model_id, *other.aliases], str(other))
        for alias in data["aliases"]:
            if alias in taken:
                yield _("“%(alias)s” means %(model)s already.") % {
                    "alias": alias,
                    "model": taken[alias],
                }
            taken[alias] = _("this model itself")

    def _ratio_faults(self, data: dict[str, Any]) -> Iterator[str]:
        field = data.get("ratio_field", "")
        if data["ratios"] and not field:
            yield _("There is no aspect ratio field to send them in.")
        if field and not data["ratios"]:
            yield _("Name the ratios that “%(field)s” may have.") % {"field": field}
        for ratio, sent in data["ratios"].items():
            if not RATIO.fullmatch(ratio):
                yield _("“%(ratio)s” is not a ratio such as 16:9.") % {"ratio": ratio}
            if not isinstance(sent, str) or not sent:
                yield _("What is sent for %(ratio)s must be a text.") % {"ratio": ratio}

    def _resolution_faults(self, data: dict[str, Any]) -> Iterator[str]:
        field, resolutions = data.get("resolution_field", ""), data["resolutions"]
        if field and not resolutions:
            yield _("Name the resolutions that “%(field)s” may have.") % {"field": field}
        if len(resolutions) > 1 and not field:
            yield _("There is no resolution field to send them in.")
        if len({name.lower() for name in resolutions}) < len(resolutions):
            yield _("Two resolutions differ only by upper and lower case.")
        for name, sent in resolutions.items():
            if not 0 < len(name) <= LONGEST_RESOLUTION:
                yield _("“%(name)s” is not a name of 1 to %(longest)d letters.") % {
                    "name": name,
                    "longest": LONGEST_RESOLUTION,
                }
            if not isinstance(sent, str | bool | int) or sent == "":
                yield _("What is sent for %(name)s must be a text, a number or true or false.") % {
                    "name": name
                }

    def _default_faults(self, data: dict[str, Any]) -> Iterator[str]:
        resolutions = data.get("resolutions")
        if resolutions is None:
            return
        if data["default_resolution"] not in (resolutions or [""]):
            yield (
                _("Choose one of: %(all)s.") % {"all": ", ".join(resolutions)}
                if resolutions
                else _("This model has no resolutions: leave it empty.")
            )

    def _pair_faults(self, data: dict[str, Any]) -> Iterator[str]:
        for pair in data["impossible"]:
            if not isinstance(pair, list) or len(pair) != 2:
                yield _("%(pair)s is not a pair of ratio and resolution.") % {"pair": pair}
            elif pair[0] not in list(data.get("ratios", pair)):
                yield _("%(name)s is not one of the ratios.") % {"name": pair[0]}
            elif pair[1] not in list(data.get("resolutions", pair)):
                yield _("%(name)s is not one of the resolutions.") % {"name": pair[1]}

    def _constant_faults(self, data: dict[str, Any]) -> Iterator[str]:
        for name in ("prompt", data.get("ratio_field"), data.get("resolution_field")):
            if name and name in data["constants"]:
                yield _("“%(name)s” is written by the order itself.") % {"name": name}
