"""A model's prices: to be read as history, and to be followed by a new one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.fields import CreditsField, DollarsField
from credits.templatetags.money import credits, dollars
from generation.models import KieModel, Price

JUST_NOW = timedelta(hours=1)  # what begins so little ago is meant to begin now
# What stands in KIE's credits, and in dollars.
AMOUNTS = (("in_credits", "in_dollars"), ("reference_in_credits", "reference_in_dollars"))


class BeginningForm(forms.ModelForm):  # type: ignore[type-arg]
    """A row that holds from a moment on: now, or later."""

    since = forms.SplitDateTimeField(
        label=gettext_lazy("Since"),
        required=False,
        widget=AdminSplitDateTime,
        help_text=gettext_lazy("Empty: now."),
    )

    def clean_since(self) -> Any:
        """Empty means now. History is not written afterwards."""
        now = timezone.now()
        since = self.cleaned_data["since"] or now
        if since < now - JUST_NOW:
            raise ValidationError(_("It cannot begin in the past. Empty: now."))
        return max(since, now)


class PriceForm(BeginningForm):
    """A new price, in whole credits and dollars."""

    in_credits = CreditsField(label=gettext_lazy("credits"))
    in_dollars = DollarsField(label=gettext_lazy("real cost in dollars"))
    reference_in_credits = CreditsField(label=gettext_lazy("per reference"), required=False)
    reference_in_dollars = DollarsField(label=gettext_lazy("in dollars"), required=False)

    class Meta:
        model = Price
        fields = ["resolution", "free_references", "since"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "free_references" in self.fields:  # empty is none
            self.fields["free_references"].required = False

    def clean_free_references(self) -> int:
        return self.cleaned_data["free_references"] or 0

    def clean(self) -> dict[str, Any]:
        """Both amounts are more than 0, or both are 0 for what is free at KIE."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        for whole, cost in AMOUNTS:
            if whole in data and cost in data and bool(data[whole]) != bool(data[cost]):
                missing = cost if data[whole] else whole
                self.add_error(missing, _("A price is more than 0, or both of its amounts are 0."))
        if data.get("free_references") and not data.get("reference_in_credits", True):
            self.add_error("free_references", _("Every reference is free: it has no price."))
        return data

    def save(self, commit: bool = True) -> Price:
        price, data = self.instance, self.cleaned_data
        price.credits, price.cost = data["in_credits"], data["in_dollars"]
        price.reference_credits = data.get("reference_in_credits") or 0
        price.reference_cost = data.get("reference_in_dollars") or 0
        saved: Price = super().save(commit)
        return saved


class PriceInline(admin.TabularInline):  # type: ignore[type-arg]
    """Every price that the model ever had, newest first; a change is a new row."""

    model = Price
    form = PriceForm
    fields = [
        "resolution",
        "in_credits",
        "in_dollars",
        "reference_in_credits",
        "reference_in_dollars",
        "free_references",
        "since",
    ]
    of_references = fields[3:6]
    extra = 0
    verbose_name_plural = gettext_lazy("prices: a new one is added, an old one never changed")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: KieModel | None = None) -> Any:
        """A model that takes no pictures bills none."""
        takes_none = obj is not None and not obj.picture_fields
        return [f for f in self.fields if not (takes_none and f in self.of_references)]

    def get_formset(self, request: HttpRequest, obj: KieModel | None = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        names = [name for name in obj.price_names if name] if obj else []
        formset.form.base_fields["resolution"] = forms.ChoiceField(
            label=_("what for"),
            required=False,
            choices=[("", _("everything")), *((name, name) for name in names)],
        )
        return formset

    @admin.display(description=gettext_lazy("credits"))
    def in_credits(self, price: Price) -> str:
        return credits(price.credits)

    @admin.display(description=gettext_lazy("real cost in dollars"))
    def in_dollars(self, price: Price) -> str:
        return dollars(price.cost)

    @admin.display(description=gettext_lazy("per reference"))
    def reference_in_credits(self, price: Price) -> str:
        return credits(price.reference_credits)

    @admin.display(description=gettext_lazy("in dollars"))
    def reference_in_dollars(self, price: Price) -> str:
        return dollars(price.reference_cost)
