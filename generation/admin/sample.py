"""A model's sample picture, chosen from a test order: a project's pictures are nobody else's."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from generation.models import Generation, KieModel
from projects.models import Take


def may_choose(request: HttpRequest) -> bool:
    return request.user.has_perm("generation.change_kiemodel")


def takes_of(order: Generation) -> list[Take]:
    """Those that may be the sample: stored, of a test order."""
    trials = Generation.objects.trials().filter(pk=order.pk)
    takes = Take.objects.filter(output__generation__in=trials, project=None).exclude(thumbnail="")
    return list(takes.order_by("output__index"))


class SampleForm(forms.Form):
    take = forms.ChoiceField(
        label=gettext_lazy("Sample picture"), widget=forms.RadioSelect, required=False
    )

    def __init__(self, order: Generation, data: Any = None) -> None:
        super().__init__(data)
        self.model: KieModel = order.model
        ids = [take.pk for take in takes_of(order)]
        choices = [(pk, _small(pk, number)) for number, pk in enumerate(ids, start=1)]
        field: Any = self.fields["take"]
        field.choices = [*choices, ("", _("No sample"))]
        own = self.model.sample_id
        self.initial["take"] = own if own in ids else next(iter(ids), "")

    def choose(self) -> str:
        """What was done, in words for the model's history."""
        self.model.sample_id = self.cleaned_data["take"] or None
        self.model.save(update_fields=["sample", "updated_at"])
        if self.model.sample_id is None:
            return _("%(model)s has no sample picture.") % {"model": self.model}
        return _("%(model)s has a new sample picture.") % {"model": self.model}


def _small(take_id: str, number: int) -> SafeString:
    return format_html(
        '<img class="sample-choice" src="{}" alt="{}">',
        reverse("admin:projects_take_thumbnail", args=[take_id]),
        _("Picture %(number)d") % {"number": number},
    )
