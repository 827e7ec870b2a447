"""What a person may ask to be done with a take: only what the chosen model can do is offered."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.templatetags.money import in_credits
from generation import orders
from generation.models import AUTO, KieModel, Operation, PromptUse
from generation.orders import Order
from generation.rework import SOME_WORDS, Bench, Choice, Companion
from generation.wishes import Wish
from projects import access, uploads
from projects.models import Role, Take
from projects.pictures import BadPicture, DecoderDown, StorageDown

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)

# The fields of these forms by the wish that an order is refused for.
FIELDS = {
    "prompt": "prompt",
    "model": "model",
    "aspectRatio": "aspect_ratio",
    "resolution": "resolution",
    "count": "count",
    "referenceImages": "references",
    "maskImage": "mask",
}


class ReworkForm(forms.Form):
    """A wish to do something with a take. Unbound it shows `initial`, of which what the model does
    not have gives way to its own. With `chosen` None no model can take the picture."""

    prompt = forms.CharField(
        label=gettext_lazy("What is to change?"),
        widget=forms.Textarea(attrs={"rows": 4}),
        error_messages={"required": gettext_lazy("Say what is to change.")},
    )

    def __init__(self, bench: Bench, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bench = bench
        self.chosen = bench.choice_of(self._said("model")) or bench.usual
        self._offer_models()
        if self.chosen:
            self._offer_what_it_can(self.chosen)
        else:
            del self.fields["prompt"]

    @property
    def models(self) -> Iterator[tuple[Any, Choice]]:
        """The radio buttons with their models, those that can take the picture first."""
        return zip(self["model"], self.bench.choices, strict=True)

    @property
    def sizes(self) -> Iterator[tuple[Any, str, str]]:
        """The radio buttons of the resolutions: with what is to be said of it, and why not."""
        assert self.chosen is not None
        for radio in self["resolution"]:
            name = str(radio.data["value"])
            refused = self.chosen.refused.get(name)
            yield radio, self._about(self.chosen, name), refused.words if refused else ""

    @property
    def companions(self) -> Iterator[tuple[Any, Companion, int | None]]:
        """The boxes of the pictures that may go along, with the number that each would have."""
        ticked, first = self._ticked(), 1 if self.bench.source is None else 2
        for box, companion in zip(self["references"], self.bench.company, strict=True):
            place = ticked.index(companion.take) + first if companion.take in ticked else None
            yield box, companion, place

    def offer(self, mask: Take | None) -> Order:
        """The order as it stands in the form, for its price. Words and a mask that are yet to come
        are taken as given. Raises OrderRefused."""
        assert self.chosen is not None
        stand_in = self.bench.take if self.chosen.needs_mask else None
        return self.prepared(self._wish(SOME_WORDS, mask or stand_in))

    def wish(self, mask: Take | None) -> Wish:
        """Of a form that is valid."""
        return self._wish(self.cleaned_data.get("prompt", ""), mask)

    def prepared(self, wish: Wish) -> Order:
        """Raises OrderRefused."""
        assert self.chosen is not None
        return orders.prepare(wish, self.bench.basis_of(self.chosen))

    def clean_model(self) -> str:
        model_id: str = self.cleaned_data["model"]
        if self.bench.choice_of(model_id) is None:
            raise ValidationError(_("This model cannot do it. Choose another one."))
        return model_id

    # What is offered

    def _offer_models(self) -> None:
        ids = [choice.model.model_id for choice in self.bench.choices]
        able = [choice.model.model_id for choice in self.bench.choices if choice.is_able]
        self._offer("model", ids, self.chosen.model.model_id if self.chosen else "", able)

    def _offer_what_it_can(self, chosen: Choice) -> None:
        model = chosen.model
        if chosen.takes_words:
            self._ask_for_words(model)
        else:
            del self.fields["prompt"]
        if model.resolutions:
            self._offer("resolution", chosen.resolutions, chosen.resolution, chosen.quotes)
        resolution = self._said("resolution") or chosen.resolution
        ratios = self.bench.ratios_of(model, resolution)
        if self.bench.operation == Operation.REFRAME:
            self._offer("aspect_ratio", ratios, self.bench.new_ratio(model, resolution))
        elif self.bench.source is None:
            as_it_is = [AUTO] if AUTO in model.ratios else []
            usual = self.bench.usual_ratio(model, resolution)
            self._offer("aspect_ratio", [*ratios, *as_it_is], usual)
        elif ratios:
            self._offer("aspect_ratio", ["", *ratios], "")
        self._offer("count", sorted(model.counts, key=int), "1")
        if chosen.room:
            self._offer_company(chosen)

    def _ask_for_words(self, model: KieModel) -> None:
        field = self.fields["prompt"]
        field.required = model.prompt_use == PromptUse.REQUIRED
        field.widget.attrs["maxlength"] = orders.longest_prompt(model)
        if self.bench.source is None:
            field.label = _("Prompt")
            field.widget.attrs["rows"] = 8
            field.error_messages["required"] = _("There are no words to make a picture from.")
        elif self.bench.operation != Operation.EDIT:
            field.label = _("Words for the model")

    def _offer(
        self, name: str, values: list[str], usual: str, possible: Iterable[str] | None = None
    ) -> None:
        """One of `values`, if there are any; the form begins with one of the possible ones."""
        if not values:
            return
        self.fields[name] = forms.ChoiceField(
            choices=[(value, value) for value in values],
            required=name == "model",
            widget=forms.RadioSelect,
        )
        if self._said(name) not in (possible or values):
            self.initial[name] = usual

    def _offer_company(self, chosen: Choice) -> None:
        if not self.bench.company:
            return
        ids = [companion.take.pk for companion in self.bench.company]
        self.fields["references"] = forms.MultipleChoiceField(
            choices=[(take_id, take_id) for take_id in ids],
            required=False,
            widget=forms.CheckboxSelectMultiple,
        )
        if chosen.needs_company and not self._ticked():
            self.initial["references"] = ids[:1]

    # What is asked for

    def _wish(self, prompt: str, mask: Take | None) -> Wish:
        assert self.chosen is not None
        return Wish(
            project=self.bench.subject.project,
            subject=self.bench.subject,
            prompt=prompt if self.chosen.takes_words else None,
            model=self.chosen.model.model_id,
            aspect_ratio=self._said("aspect_ratio"),
            resolution=self._said("resolution") or self.chosen.resolution,
            count=int(count) if (count := self._said("count")).isdecimal() else 1,
            operation=self.bench.operation,
            source=self.bench.source,
            references=tuple(self._ticked()),
            mask=mask if self.chosen.takes_mask else None,
            cast=(),
        )

    def _said(self, name: str) -> str:
        """What stands in a field now; "" for one that the model does not have."""
        said = self.data if self.is_bound else self.initial
        return str(said.get(name) or "") if name in self.fields or name == "model" else ""

    def _ticked(self) -> list[Take]:
        """The pictures that are to go along, in the order in which they are sent."""
        if "references" not in self.fields:
            return []
        if self.is_bound:
            widget = self.fields["references"].widget
            ids = widget.value_from_datadict(self.data, self.files, "references")
        else:
            ids = self.initial.get("references", ())
        return [c.take for c in self.bench.company if c.take.pk in ids]

    def _about(self, chosen: Choice, resolution: str) -> str:
        """How large the picture would become, and the price where it differs."""
        told = []
        if chosen.model.price_edges:
            take, factor = self.bench.take, int(chosen.model.resolutions[resolution])
            told.append(f"{take.width * factor} × {take.height * factor}")
        if len(chosen.prices) > 1 and resolution in chosen.quotes:
            told.append(in_credits(chosen.quotes[resolution].credits))
        return " · ".join(told)


class MaskForm(forms.Form):
    """A mask that somebody brings along, or brought with the form that was shown before. It is kept
    as a take of the project, so that it need not be brought again when something else is refused.
    """

    mask = forms.FileField(
        label=gettext_lazy("Mask"),
        required=False,
        widget=forms.FileInput(attrs={"accept": "image/png,image/jpeg,image/webp"}),
    )
    kept_mask = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, bench: Bench, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bench = bench
        self.user = user
        self.take: Take | None = None

    def clean_mask(self) -> UploadedFile[bytes] | None:
        file: UploadedFile[bytes] | None = self.cleaned_data["mask"]
        if file:
            self.take = self._kept(file)
        return file

    def clean_kept_mask(self) -> str:
        take_id: str = self.cleaned_data["kept_mask"]
        if take_id and self.take is None:
            self.take = self._kept_before(take_id)
        return take_id

    def _kept(self, file: UploadedFile[bytes]) -> Take:
        source = self.bench.take
        try:
            picture = uploads.checked(file)
            if (picture.width, picture.height) != (source.width, source.height):
                raise ValidationError(
                    _(
                        "The mask has %(own_width)d × %(own_height)d pixels. It has to be as large "
                        "as the picture: %(width)d × %(height)d."
                    ),
                    params={"own_width": picture.width, "own_height": picture.height}
                    | {"width": source.width, "height": source.height},
                )
            return uploads.keep_aside(picture, self.bench.subject.project, self.user)
        except BadPicture as error:
            raise ValidationError(str(error.reason)) from error
        except (DecoderDown, StorageDown) as error:
            log.exception("A mask for take %s could not be kept", source.pk)
            raise ValidationError(
                _("The picture could not be stored just now. Try again.")
            ) from error

    def _kept_before(self, take_id: str) -> Take:
        with suppress(Http404, PermissionDenied):
            take = access.take_for(self.user, take_id, Role.EDITOR)
            if take.project == self.bench.subject.project:
                return take
        raise ValidationError(_("The mask is not there any more. Choose it again."))
