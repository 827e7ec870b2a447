"""A page that stands open in a browser, without the browser."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from django.test import Client
from django.urls import reverse

from generation.board import card_of
from projects.models import Character, Role, Scene


def version_of(subject: Scene | Character) -> str:
    """Of its card, as its owner sees it."""
    return card_of(subject, Role.OWNER).version


def part_of(client: Client, subject: Scene | Character, page: str = "", **look: str) -> Any:
    """The answer to an open board, or `page`, that asks for its card and shows none yet."""
    address = page or reverse("generation:board", args=[subject.project_id])
    query = look | {"fresh": f"{subject._meta.model_name}-{subject.pk}:"}
    return client.get(address, query, headers={"HX-Request": "true"})


PART = re.compile(r'<\w+[^>]* id="([-\w]+)"[^>]* data-version="(\w*)"')


class OpenPage:
    """Asks for its parts as static/js/live.js does: `parts` are the versions that it shows."""

    def __init__(self, client: Client, address: str) -> None:
        self.client, self.address = client, address
        self.html = client.get(address).content.decode()
        self.parts = dict(PART.findall(self.html))

    def ask(self, *ids: str) -> Any:
        """The answer to an ask for these parts, or for all."""
        asked = ids or tuple(self.parts)
        told = ",".join(f"{part}:{self.parts[part]}" for part in asked)
        query = urlencode({"fresh": told})
        address = f"{self.address}{'&' if '?' in self.address else '?'}{query}"
        return self.client.get(address, headers={"HX-Request": "true"})

    def changed(self, *ids: str) -> dict[str, str]:
        """The parts that have changed, by their ids; the page shows them from now on."""
        answer = self.ask(*ids)
        html = answer.content.decode()
        assert answer.status_code == (200 if html else 204)
        found = re.findall(r'id="([-\w]+)"[^>]*? hx-swap-oob', html)
        pieces = re.split(r"(?=<\w+[^>]*? hx-swap-oob)", html)[1:]
        self.parts |= dict(PART.findall(html))
        return dict(zip(found, pieces, strict=True))
