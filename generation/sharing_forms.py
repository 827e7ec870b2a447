"""What an owner may send about the people of a project: who they are, what they may spend, and the
answers to what they ask for."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits.amounts import credits_text
from credits.fields import CreditsField
from projects.models import Invitation, Member, Role


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
        if limit != "some" or data.get("role") == Role.VIEWER:
            self.errors.pop("amount", None)  # where it is not asked for, it is not shown
        elif not amount and "amount" not in self.errors:
            self.add_error("amount", _("Say how many credits."))
        data["allowance"] = {"none": None, "ask": 0}.get(limit or "", amount or 0)
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
