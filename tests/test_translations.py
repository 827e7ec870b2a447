"""The Slovak catalogue: complete, and true to the places where words are put in."""

from __future__ import annotations

import re

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po
from django.conf import settings
from django.utils.translation import gettext, ngettext, override

from credits.templatetags.money import dollars, in_credits

CATALOGUE = settings.BASE_DIR / "locale" / "sk" / "LC_MESSAGES" / "django.po"
PLACES = re.compile(r"%\(\w+\)[sd]|%[sd]|</?\w+>")


def messages() -> list[Message]:
    with CATALOGUE.open("rb") as file:
        return [message for message in read_po(file, locale="sk") if message.id]


def forms(words: object) -> list[str]:
    return [str(form) for form in words] if isinstance(words, list | tuple) else [str(words)]


def test_nothing_is_left_out_or_guessed() -> None:
    for message in messages():
        assert all(forms(message.string)), message.id
        assert not message.fuzzy, message.id


def test_every_place_for_a_value_is_kept() -> None:
    for message in messages():
        wanted = sorted(PLACES.findall(forms(message.id)[-1]))
        for form in forms(message.string):
            assert sorted(PLACES.findall(form)) == wanted, form


@pytest.mark.parametrize(
    ("hundredths", "words"),
    [
        (100, "1 kredit"),
        (200, "2 kredity"),
        (500, "5 kreditov"),
        (0, "0 kreditov"),
        (650, "6,5 kreditu"),
        (123_400, "1\xa0234 kreditov"),
    ],
)
def test_credits_are_declined(hundredths: int, words: str) -> None:
    with override("sk"):
        assert in_credits(hundredths) == words


def test_dollars_stand_behind() -> None:
    with override("sk"):
        assert dollars(32_400) == "0,0324\xa0$"
        assert dollars(-1_500_000) == "−1,50\xa0$"


def test_the_compiled_catalogue_is_the_one_in_the_repository() -> None:
    with override("sk"):
        assert gettext("Generate image") == "Generovať obrázok"
        assert [ngettext("%(takes)s take", "%(takes)s takes", n) for n in (1, 2, 5)] == [
            "%(takes)s verzia",
            "%(takes)s verzie",
            "%(takes)s verzií",
        ]
