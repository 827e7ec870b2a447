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
from generation.models import KieModel, Price
from generation.templatetags.money import credits, dollars

JUST_NOW = timedelta(hours=1)  # a price from so little ago is meant to begin now


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    """A new price, in whole credits and dollars."""

    in_credits = CreditsField(label=gettext_lazy("credits"))
    in_dollars = DollarsField(label=gettext_lazy("real cost in dollars"))
    since = forms.SplitDateTimeField(
        label=gettext_lazy("since"), required=False, widget=AdminSplitDateTime
    )

    class Meta:
        model = Price
        fields = ["resolution", "since"]

    def clean_since(self) -> Any:
        """Empty means now. History is not written afterwards."""
        now = timezone.now()
        since = self.cleaned_data["since"] or now
        if since < now - JUST_NOW:
            raise ValidationError(_("A price cannot begin in the past. Empty: now."))
        return max(since, now)

    def clean_in_credits(self) -> int:
        return self._more_than_nothing("in_credits")

    def clean_in_dollars(self) -> int:
        return self._more_than_nothing("in_dollars")

    def _more_than_nothing(self, field: str) -> int:
        amount: int = self.cleaned_data[field]
        if not amount:
            raise ValidationError(_("A price is more than 0."))
        return amount

    def save(self, commit: bool = True) -> Price:
        self.instance.credits = self.cleaned_data["in_credits"]
        self.instance.cost = self.cleaned_data["in_dollars"]
        price: Price = super().save(commit)
        return price


class PriceInline(admin.TabularInline):  # type: ignore[type-arg]
    """Every price that the model ever had, newest first; a change is a new row."""

    model = Price
    form = PriceForm
    fields = ["resolution", "in_credits", "in_dollars", "since"]
    extra = 0
    verbose_name_plural = gettext_lazy("prices: a new one is added, an old one never changed")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_formset(self, request: HttpRequest, obj: KieModel | None = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        resolutions = obj.resolutions if obj else {}
        formset.form.base_fields["resolution"] = forms.ChoiceField(
            label=_("resolution"),
            required=False,
            choices=[("", _("every resolution")), *((name, name) for name in resolutions)],
        )
        return formset

    @admin.display(description=gettext_lazy("credits"))
    def in_credits(self, price: Price) -> str:
        return credits(price.credits)

    @admin.display(description=gettext_lazy("real cost in dollars"))
    def in_dollars(self, price: Price) -> str:
        return dollars(price.cost)
