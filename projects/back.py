"""Where a person goes on after a form, and the way back from what it did."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from django.contrib import messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from projects.models import Scene


def came_from(request: HttpRequest, otherwise: str) -> str:
    """The page of ours that a form stands on, or was reached from (its field `next`): where its
    answer leads without script."""
    page = request.POST.get("next") or request.headers.get("Referer", "")
    ours = url_has_allowed_host_and_scheme(
        page, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return page if ours else otherwise


def on_board(scene: Scene) -> str:
    """The address of the board at this scene, on whichever of its pages that is."""
    board = reverse("generation:board", args=[scene.project_id])
    return at_place(f"{board}?at={scene.pk}", f"scene-{scene.pk}")


def at_place(page: str, place: str) -> str:
    """The address of a page, scrolled to what has this id."""
    return urlsplit(page)._replace(fragment=place).geturl()


def say_with_undo(request: HttpRequest, words: str, address: str, **fields: str) -> None:
    """A message with a button "Undo", which posts to the address with these fields in its query.

    parts/toast.html takes an address in the extra tags for that.
    """
    messages.success(request, words, extra_tags=f"{address}?{urlencode(fields)}")
