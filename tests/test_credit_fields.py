"""The form fields for amounts: exact, in the language of the page, and never a thousandth."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.utils import translation

from credits.fields import CreditsField, DollarsField


@pytest.mark.parametrize(
    ("text", "hundredths"),
    [
        ("6", 600),
        ("3.24", 324),
        ("0.1", 10),
        (" 250 ", 25_000),
        ("0", 0),
        ("999999999.99", 99999999999),
    ],
)
def test_credits_become_hundredths(text: str, hundredths: int) -> None:
    assert CreditsField().clean(text) == hundredths


@pytest.mark.parametrize(
    ("text", "micro"),
    [("0.03", 30_000), ("0.0162", 16_200), ("1.000001", 1_000_001), ("2", 2_000_000)],
)
def test_dollars_become_micro_dollars(text: str, micro: int) -> None:
    assert DollarsField().clean(text) == micro


@pytest.mark.parametrize(
    "text",
    ["", "1,000", "1,5", "3.245", "1 000", "-1", "+1", "1e3", "NaN", "Infinity", "six", "1.", ".5"]
    + ["1234567890", "1_000", "٣", "0x10", "1.2.3"],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        CreditsField().clean(text)


def test_in_slovak_the_comma_is_the_point() -> None:
    with translation.override("sk"):
        assert CreditsField().clean("3,24") == 324
        assert CreditsField().clean("3.24") == 324
        with pytest.raises(ValidationError):
            CreditsField().clean("1,000")


@pytest.mark.parametrize(("text", "hundredths"), [("-5", -500), ("−5.5", -550), ("+5", 500)])
def test_a_signed_field_takes_both_minuses(text: str, hundredths: int) -> None:
    assert CreditsField(signed=True).clean(text) == hundredths


def test_an_optional_field_may_be_empty() -> None:
    assert CreditsField(required=False).clean("") is None
