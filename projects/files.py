"""Serving the pictures of takes, to those who may see them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header, quote_etag
from django.utils.text import get_valid_filename
from django.views.decorators.http import require_safe

from projects import access, pictures
from projects.models import Take

if TYPE_CHECKING:
    from projects.request import Request

log = logging.getLogger(__name__)

# A take's files never change under their names, so a browser need not ask for them again.
CACHE_FILE = "private, max-age=31536000, immutable"
# A signed link is shown to browsers for less time than it works.
LINK_SECONDS = 300
CACHE_LINK = "private, max-age=240"


@require_safe
@login_required
def picture(request: Request, take_id: str) -> HttpResponseBase:
    """The take's picture as it was stored; with `?download=1` as a file to save."""
    return picture_of(request, access.take_for(request.user, take_id))


@require_safe
@login_required
def thumbnail(request: Request, take_id: str) -> HttpResponseBase:
    """The take's picture made small: WebP, longest edge at most 960 pixels."""
    return thumbnail_of(request, access.take_for(request.user, take_id))


def picture_of(request: HttpRequest, take: Take) -> HttpResponseBase:
    """For a request that may see the take: a member's, or that of staff in the admin."""
    disposition = content_disposition_header("download" in request.GET, _filename(take)) or ""
    return _file(request, take.image.name, take.content_type, take.sha256, disposition)


def thumbnail_of(request: HttpRequest, take: Take) -> HttpResponseBase:
    return _file(request, take.thumbnail.name, "image/webp", f"{take.sha256}-small", "inline")


def _filename(take: Take) -> str:
    """What the picture is called on the user's disk: `Film_12A_<end of the take's id>.png`."""
    of = take.scene.number if take.scene else take.character.name if take.character else ""
    words = [take.project.name if take.project else "", of, take.pk[-6:]]
    extension = str(take.image.name).rpartition(".")[2]
    return get_valid_filename(f"{' '.join(filter(None, words))}.{extension}")


def _file(
    request: HttpRequest, name: str | None, content_type: str, version: str, disposition: str
) -> HttpResponseBase:
    """The stored file itself where the storage is a folder, else the way to it."""
    if not name:  # a take of an older system, of which only the provider's link is known
        raise Http404
    try:
        default_storage.path(name)
    except NotImplementedError:
        return _way(request, name, content_type, disposition)
    etag = quote_etag(version)
    response = get_conditional_response(request, etag) or _whole(name, content_type)
    response["ETag"] = etag
    response["Cache-Control"] = CACHE_FILE
    response["Content-Disposition"] = disposition
    response["X-Content-Type-Options"] = "nosniff"
    return response


class InOnePiece(FileResponse):
    """The server's threads are few. One piece it takes at once and hands out at the reader's pace,
    while the thread goes on; in pieces, a phone on a bad line would hold the thread to the end."""

    block_size = pictures.MAX_BYTES


def _whole(name: str, content_type: str) -> FileResponse:
    try:
        return InOnePiece(default_storage.open(name), content_type=content_type)
    except FileNotFoundError as error:
        log.error("The file of a take is gone: %s", name)
        raise Http404 from error


def _way(
    request: HttpRequest, name: str, content_type: str, disposition: str
) -> HttpResponseRedirect:
    """A link to the file in the bucket, signed here and good for five minutes."""
    storage: Any = default_storage  # Django's type knows nothing of what a bucket's link can say
    link = storage.url(
        name,
        parameters={
            "ResponseContentType": content_type,
            "ResponseContentDisposition": disposition,
        },
        expire=LINK_SECONDS,
        http_method=request.method,
    )
    return HttpResponseRedirect(link, headers={"Cache-Control": CACHE_LINK})
