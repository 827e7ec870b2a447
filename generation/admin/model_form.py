"""What staff may write about a model. What would make a request wrong is refused, by field.

The rules are those of the catalogue's file, too (`generation/catalogue/rules.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from generation.catalogue import rules
from generation.models import KieModel
from generation.prompts import is_text


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
    counts = JsonField(
        dict,
        label=gettext_lazy("Counts"),
        help_text=gettext_lazy('How many pictures to the value that is sent: {"4": "4"}.'),
    )
    picture_fields = JsonField(
        list,
        label=gettext_lazy("Picture fields"),
        help_text=gettext_lazy(
            'What takes pictures: [{"field": "image_urls", "slot": "reference", "min": 0, '
            '"max": 8, "is_list": true, "max_mb": 10}]. A slot is source, reference or mask.'
        ),
    )
    price_edges = JsonField(
        dict,
        label=gettext_lazy("Price by size"),
        help_text=gettext_lazy(
            "For a model that enlarges and is billed by what comes out: the price's name to the "
            'longest edge in pixels up to which it holds: {"4K": 4096}.'
        ),
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
        for field, faults in (("model_id", self._id_faults), ("aliases", self._alias_faults)):
            if field in data:
                for fault in list(faults(data)):
                    self.add_error(field, fault)
        for field, fault in list(rules.faults(data)):
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
