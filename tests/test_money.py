"""Amounts in words: every integer, both languages."""

from __future__ import annotations

from fractions import Fraction

import pytest
from django.utils.translation import override
from hypothesis import given
from hypothesis import strategies as st

from credits.templatetags.money import credit_change, credits, dollars, in_credits


@pytest.mark.parametrize(
    ("hundredths", "english", "slovak"),
    [
        (0, "0", "0"),
        (1, "0.01", "0,01"),
        (10, "0.1", "0,1"),
        (324, "3.24", "3,24"),
        (600, "6", "6"),
        (650, "6.5", "6,5"),
        (-1, "−0.01", "−0,01"),
        (-650, "−6.5", "−6,5"),
        (123_456_789, "1,234,567.89", "1\xa0234\xa0567,89"),
        (-100_000_000_000_000, "−1,000,000,000,000", "−1\xa0000\xa0000\xa0000\xa0000"),
    ],
)
def test_credits(hundredths: int, english: str, slovak: str) -> None:
    with override("en"):
        assert credits(hundredths) == english
    with override("sk"):
        assert credits(hundredths) == slovak


@given(st.integers())
def test_credits_says_exactly_the_amount(hundredths: int) -> None:
    with override("en"):
        said = credits(hundredths).replace(",", "").replace("−", "-")
    assert Fraction(said) * 100 == hundredths
    assert not said.endswith(".")
    assert "." not in said or said[-1] != "0"


@pytest.mark.parametrize(
    ("micro_dollars", "english"),
    [
        (0, "$0.00"),
        (30_000, "$0.03"),
        (32_400, "$0.0324"),
        (1, "$0.000001"),
        (1_500_000, "$1.50"),
        (-1_500_000, "−$1.50"),
        (12_345_600_000, "$12,345.60"),
    ],
)
def test_dollars(micro_dollars: int, english: str) -> None:
    with override("en"):
        assert dollars(micro_dollars) == english


@given(st.integers())
def test_dollars_says_exactly_the_amount(micro_dollars: int) -> None:
    with override("en"):
        said = dollars(micro_dollars).replace(",", "").replace("−", "-").replace("$", "")
    assert Fraction(said) * 1_000_000 == micro_dollars
    assert len(said.split(".")[1]) >= 2


@pytest.mark.parametrize(
    ("hundredths", "words"),
    [
        (100, "1 credit"),
        (600, "6 credits"),
        (0, "0 credits"),
        (650, "6.5 credits"),
        (150, "1.5 credits"),
        (-100, "−1 credit"),
    ],
)
def test_in_credits(hundredths: int, words: str) -> None:
    with override("en"):
        assert in_credits(hundredths) == words


def test_credit_change_has_its_sign() -> None:
    with override("en"):
        assert [credit_change(n) for n in (250, 0, -600)] == ["+2.5", "0", "−6"]
