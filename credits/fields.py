"""Form fields for amounts as people write them, "3.24" or "3,24". They clean to integers."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.formats import get_format
from django.utils.translation import gettext_lazy as _

LONGEST_WHOLE = 9  # digits before the point; the columns hold far more


class AmountField(forms.CharField):
    """A number with at most `places` decimals; cleans to that number of smallest units.

    The separator of decimals is the point, or that of the page's language. One of thousands is
    refused: "1,000" must never become one.
    """

    places = 0

    def __init__(self, *, signed: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.signed = signed
        self.widget.attrs |= {"inputmode": "decimal", "autocomplete": "off", "size": 12}

    def clean(self, value: Any) -> Any:
        """The integer; None where an empty field is allowed."""
        text = super().clean(value)
        return self._amount(text) if text else None

    def _amount(self, text: str) -> int:
        comma = get_format("DECIMAL_SEPARATOR")
        sign = "[-−+]?" if self.signed else ""
        found = re.fullmatch(
            rf"({sign})(\d{{1,{LONGEST_WHOLE}}})(?:[.{re.escape(comma)}](\d{{1,{self.places}}}))?",
            text,
            re.ASCII,
        )
        if found is None:
            raise ValidationError(
                _(
                    "Write a number such as %(example)s: nothing between the thousands, and at "
                    "most %(places)d decimals."
                ),
                params={"example": f"1250{comma}5", "places": self.places},
            )
        minus, whole, part = found.groups(default="")
        amount = int(whole + part.ljust(self.places, "0"))
        return -amount if minus in {"-", "−"} else amount


class CreditsField(AmountField):
    """Cleans to hundredths of a credit."""

    places = 2


class DollarsField(AmountField):
    """Cleans to micro-dollars."""

    places = 6
