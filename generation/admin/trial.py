"""A test order: one real order of a model, with whatever it needs, which no user pays."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from django import forms
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from generation import orders
from generation.models import Generation, KieModel, Operation, PictureField, PromptUse, Slot
from generation.references import API_FIELDS
from generation.wishes import OrderRefused, Wish
from projects import uploads
from projects.models import Take
from projects.pictures import BadPicture, DecoderDown, StorageDown

log = logging.getLogger(__name__)

LANDSCAPE = "A beautiful landscape, a desert at sunset, 35 mm film"
FAMILY = 50  # takes of it that are offered, the newest


class PictureInput(forms.FileInput):
    """For one picture, or for several."""

    allow_multiple_selected = True

    def __init__(self, *, several: bool = False) -> None:
        attrs: dict[str, Any] = {"accept": "image/png,image/jpeg,image/webp", "multiple": several}
        super().__init__(attrs)


class PicturesField(forms.FileField):
    """Cleans to a list of `least` to `most` files."""

    def __init__(self, *, least: int, most: int, **kwargs: Any) -> None:
        widget = PictureInput(several=most > 1)
        super().__init__(required=least > 0, widget=widget, **kwargs)

    def clean(self, data: Any, initial: Any = None) -> Any:
        files = [super(PicturesField, self).clean(file, initial) for file in data or [None]]
        return [file for file in files if file]


class TakeField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, take: Any) -> str:
        made = take.output.generation
        when = date_format(take.created_at, "SHORT_DATETIME_FORMAT")
        return f"{made.model}, {when}: {made.prompt[:60]}"


class TrialForm(forms.Form):
    """What the model takes, and only that. `key` is made with the form: sent twice, it is once."""

    FIELDS = {
        "prompt": "prompt",
        "aspectRatio": "aspect_ratio",
        "resolution": "resolution",
        "count": "count",
        "operation": "operation",
        API_FIELDS[Slot.SOURCE]: "source",
        API_FIELDS[Slot.REFERENCE]: "references",
        API_FIELDS[Slot.MASK]: "mask",
    }

    operation = forms.ChoiceField(label=gettext_lazy("What it does"), widget=forms.RadioSelect)
    prompt = forms.CharField(
        label=gettext_lazy("Prompt"),
        initial=LANDSCAPE,
        widget=forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"}),
    )
    aspect_ratio = forms.ChoiceField(label=gettext_lazy("Aspect ratio"))
    resolution = forms.ChoiceField(label=gettext_lazy("Resolution"))
    count = forms.ChoiceField(label=gettext_lazy("Pictures"))
    key = forms.CharField(
        widget=forms.HiddenInput, max_length=100, initial=lambda: f"admin:{uuid4().hex}"
    )

    def __init__(self, model: KieModel, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model = model
        self._offer_operations()
        self._offer_words()
        self._offer("aspect_ratio", list(model.ratios), "16:9")
        self._offer("resolution", list(model.resolutions), model.default_resolution)
        self._offer("count", sorted(model.counts, key=int), "1")
        self._offer_ratio_of_its_own()
        self._offer_pictures()

    def place(self, user: Any) -> Generation | None:
        """The order; None, with the error in the form, when it was refused."""
        pictures = {name: self._kept(name, user) for name in ("source", "references", "mask")}
        if self.errors:
            return None
        wish = self._wish(pictures)
        try:
            # The model itself, so that one that is switched off can be tried before it is offered.
            order = orders.prepare(wish, orders.basis_for(wish, self.model))
            return orders.place(order, orders.Terms(user=user, key=self.cleaned_data["key"]))
        except OrderRefused as refused:
            field = self.FIELDS.get(refused.field)
            self.add_error(field if field in self.fields else None, refused.words)
        return None

    def _wish(self, pictures: dict[str, list[Take]]) -> Wish:
        data = self.cleaned_data
        return Wish(
            prompt=data.get("prompt", ""),
            model=self.model.model_id,
            aspect_ratio=data.get("aspect_ratio", ""),
            resolution=data.get("resolution", ""),
            count=int(data.get("count", 1)),
            operation=Operation(data.get("operation") or self._operations[0]),
            source=next(iter(pictures["source"]), None),
            references=tuple(pictures["references"]),
            mask=next(iter(pictures["mask"]), None),
            free=True,
        )

    def _kept(self, name: str, user: Any) -> list[Take]:
        """What was brought, stored; what cannot be is an error of its field."""
        brought = self.cleaned_data.get(name)
        if isinstance(brought, Take):
            return [brought]
        try:
            return [uploads.keep_aside(uploads.checked(file), None, user) for file in brought or ()]
        except BadPicture as error:
            self.add_error(name, str(error.reason))
        except (DecoderDown, StorageDown):
            log.exception("A picture for a test order could not be kept")
            self.add_error(name, _("The picture could not be stored just now. Try again."))
        return []

    # What is offered

    @property
    def _operations(self) -> tuple[Operation, ...]:
        return self.model.operations or (Operation.GENERATE,)

    def _offer_operations(self) -> None:
        choices = [operation.value for operation in self._operations]
        if len(choices) == 1:
            del self.fields["operation"]
            return
        self._offer("operation", choices, choices[0])
        field: Any = self.fields["operation"]
        field.choices = [(operation.value, operation.label) for operation in self._operations]

    def _offer_words(self) -> None:
        if self.model.prompt_use == PromptUse.NONE:
            del self.fields["prompt"]
        elif self.model.prompt_use == PromptUse.OPTIONAL:
            self.fields["prompt"].required = False
            self.initial["prompt"] = ""

    def _offer(self, name: str, choices: list[str], usual: str) -> None:
        if not choices:
            del self.fields[name]
            return
        self.fields[name].choices = [(choice, choice) for choice in choices]  # type: ignore[attr-defined]
        self.initial[name] = usual if usual in choices else choices[0]

    def _offer_ratio_of_its_own(self) -> None:
        """A picture that is worked on may keep its shape."""
        if "aspect_ratio" not in self.fields or self._operations == (Operation.GENERATE,):
            return
        field: Any = self.fields["aspect_ratio"]
        field.choices = [("", _("as the picture that is worked on")), *field.choices]
        field.required = False
        if Operation.GENERATE not in self._operations and Operation.REFRAME not in self._operations:
            self.initial["aspect_ratio"] = ""

    def _offer_pictures(self) -> None:
        model = self.model
        if model.source_field and self._operations != (Operation.GENERATE,):
            self.fields["source"] = self._source(model.source_field)
        if field := model.takes.get(Slot.REFERENCE):
            is_also_source = model.source_field == field and "source" in self.fields
            least = 0 if is_also_source else field.min
            self.fields["references"] = PicturesField(
                label=_("References"),
                least=least,
                most=field.max,
                help_text=_limits(field, field.max),
            )
        if field := model.takes.get(Slot.MASK):
            help_text = _("As large as the picture that is worked on.")
            self.fields["mask"] = PicturesField(
                label=_("Mask"), least=field.min, most=1, help_text=help_text
            )

    def _source(self, field: PictureField) -> forms.Field:
        label = _("Picture to work on")
        is_needed = Operation.GENERATE not in self._operations
        if not field.task_of:
            least = 1 if is_needed else 0
            return PicturesField(label=label, least=least, most=1, help_text=_limits(field, 1))
        return TakeField(
            made_by_family(field.task_of),
            label=label,
            help_text=_("From test orders of %(family)s.") % {"family": field.task_of.rstrip("/")},
        )


def made_by_family(family: str) -> Any:
    """The last takes of test orders that a model of this family made."""
    orders_of = Generation.objects.trials().filter(model__model_id__startswith=family)
    takes = Take.objects.newest_first().filter(output__generation__in=orders_of)
    ids = list(takes.values_list("pk", flat=True)[:FAMILY])
    return takes.filter(pk__in=ids).select_related("output__generation__model")


def _limits(field: PictureField, most: int) -> str:
    """How many pictures of how many megabytes the model takes here, where that is known."""
    told = [_("At most %(max)d.") % {"max": most}] if most > 1 else []
    if field.max_mb:
        told.append(
            _("Up to %(mb)d MB; what is larger goes as a smaller copy.") % {"mb": field.max_mb}
        )
    return " ".join(told)
