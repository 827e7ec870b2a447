"""What a person may choose on the bill of several pictures, and the button that orders them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import Http404, QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.amounts import credits_text
from credits.fields import CreditsField
from generation.batch import batch_for
from generation.bill import MOST_VARIANTS, Choices, Which
from generation.filters import Choice
from generation.models import Batch
from projects.ids import ID
from projects.models import Project

if TYPE_CHECKING:
    from django.contrib.auth.models import User

VARIANTS = [(str(n), str(n)) for n in range(1, MOST_VARIANTS + 1)]


class IdsField(forms.Field):
    """A repeated field of ids; cleans to a tuple of those that could be some."""

    widget = forms.MultipleHiddenInput

    def clean(self, value: Any) -> tuple[str, ...]:
        return tuple(text for text in value or () if ID.fullmatch(text))


class BillForm(forms.Form):
    """Cleans to `choices`. Always bound: what an address does not say is the usual."""

    which = forms.ChoiceField(
        label=gettext_lazy("Which scenes"),
        choices=Which.choices,
        required=False,
        widget=forms.RadioSelect,
    )
    scene = IdsField(required=False)
    batch = forms.CharField(required=False, widget=forms.HiddenInput)
    variants = forms.ChoiceField(
        label=gettext_lazy("Pictures of each scene"),
        choices=VARIANTS,
        required=False,
        widget=forms.RadioSelect,
    )
    cap = CreditsField(
        label=gettext_lazy("At most so many credits"),
        required=False,
    )

    def __init__(
        self,
        project: Project,
        user: User,
        sent: QueryDict,
        filters: Sequence[Choice],
        cap: int | None = None,
    ) -> None:
        """`filters` are the board's, and `cap` takes the place of what was sent."""
        data: MultiValueDict[str, str] = MultiValueDict(dict(sent.lists()))
        for name, usual in (("which", Which.MISSING), ("variants", "1")):
            data[name] = data.get(name) or usual
        if cap is not None:
            data["cap"] = credits_text(cap)
        super().__init__(data)
        self.project = project
        self.user = user
        self.counts = {choice.name: choice.count for choice in filters}

    @property
    def which_radios(self) -> list[tuple[Any, int | None]]:
        """Those that there is something of, with how many scenes they are about."""
        wanted = self.data["which"]
        counts: dict[str, int | None] = {**self.counts, Which.SELECTED: None, Which.RETRY: None}
        counts[Which.SELECTED] = len(self.data.getlist("scene")) or None  # type: ignore[attr-defined]
        found = []
        for radio in self["which"]:
            value = str(radio.data["value"])
            if value == wanted or counts.get(value) or (value == Which.RETRY and self._batch_id):
                found.append((radio, counts.get(value)))
        return found

    @property
    def says_how_many(self) -> bool:
        """What failed is ordered again as often as it failed."""
        return bool(self.data["which"] != Which.RETRY)

    @property
    def choices(self) -> Choices:
        """Of a form that is valid."""
        said = self.cleaned_data
        return Choices(
            which=Which(said["which"]),
            selected=said["scene"],
            batch=said["batch"],
            variants=int(said["variants"]),
            cap=said["cap"],
        )

    def clean_batch(self) -> Batch | None:
        batch_id: str = self.cleaned_data["batch"]
        if not batch_id:
            return None
        try:
            found = batch_for(self.user, batch_id if ID.fullmatch(batch_id) else "")
        except Http404:
            raise ValidationError(_("This batch is not there any more.")) from None
        if found.project_id != self.project.pk:
            raise ValidationError(_("This batch is not there any more."))
        return found

    @property
    def _batch_id(self) -> str:
        return str(self.data.get("batch", ""))


class OrderForm(forms.Form):
    """The button's hidden fields: its key, and what was to be ordered (Bill.mark)."""

    key = forms.RegexField(r"\A[0-9a-f]{32}\Z", strip=False)
    mark = forms.RegexField(r"\A[0-9a-f]{64}\Z", strip=False)
