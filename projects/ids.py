"""Ids that stand in addresses."""

import re

from django.urls.converters import StringConverter
from django.utils.crypto import get_random_string

ID = re.compile("[a-z0-9]{1,32}")  # what could be one; PostgreSQL refuses a NUL in a text
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_id() -> str:
    """An unguessable id: 24 letters and digits, 124 bits of the system's randomness."""
    return get_random_string(24, ALPHABET)


class IdConverter(StringConverter):
    """`<id:…>` in an address: nothing else gets as far as the database."""

    regex = ID.pattern
