"""Pictures from outside: what they are, their thumbnails, and where they are kept.

The only code that has bytes from outside decoded: by a process (projects/decoder.py) with limits of
its own, so that no file can take the worker with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import tempfile
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from s3transfer.exceptions import RetriesExceededError

from projects import decoders

log = logging.getLogger(__name__)

MAX_BYTES = 40_000_000
MAX_PIXELS = 50_000_000  # the decoder's own limits
MAX_EDGE = 16_384
STORAGE_ERRORS = (OSError, Boto3Error, BotoCoreError, ClientError, RetriesExceededError)

FAULTS: dict[str, Promise] = {
    "not_a_picture": _("This is not a PNG, JPEG or WebP picture."),
    "too_many_bytes": _("The picture is larger than 40 MB."),
    "too_many_pixels": _(
        "The picture has more than 50 million pixels or an edge of more than 16,384."
    ),
    "animated": _("The picture is animated; a still one is needed."),
    "broken": _("The picture is damaged."),
    "too_costly": _("The picture takes too long to open."),
}


class BadPicture(Exception):
    """The bytes are refused, now and always. `code` is a key of FAULTS, `reason` its words."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        self.reason = FAULTS[code]


class DecoderDown(Exception):
    """The picture could not be judged, and that is not its fault: try again later."""


class DecoderSlow(DecoderDown):
    """It took longer than WALL_SECONDS, though less of the processor than it may have: this machine
    is too busy. (A picture that keeps the processor busy is too_costly.)"""


class StorageDown(Exception):
    """The storage did not take the picture, or did not give it: try again later."""


class PictureGone(Exception):
    """The storage has no such file."""


@dataclass(frozen=True)
class Kind:
    name: str
    content_type: str
    extension: str


PNG = Kind("PNG", "image/png", "png")
JPEG = Kind("JPEG", "image/jpeg", "jpg")
WEBP = Kind("WEBP", "image/webp", "webp")


@dataclass(frozen=True)
class Picture:
    """A picture that has been decoded whole.

    `data` is the file that came with nothing but the picture in it: its coded pixels are untouched,
    whatever else stood in it or behind it is gone. Width and height are pixels as shown, upright.
    `thumbnail` is a WebP with a longest edge of at most 960.
    """

    data: bytes
    content_type: str
    extension: str
    width: int
    height: int
    sha256: str
    thumbnail: bytes


@dataclass(frozen=True)
class Stored:
    """A picture in the default storage; the fields are Take's, so `Take(**asdict(stored))`."""

    image: str
    thumbnail: str
    content_type: str
    width: int
    height: int
    size: int
    sha256: str


def check(data: bytes) -> Picture:
    """Decodes a file from outside. Raises BadPicture, or DecoderDown if it cannot be judged now.

    Only the bytes count, never a name or a header: PNG, JPEG or WebP, at most 40 MB, 50 million
    pixels and 16,384 pixels of edge. Animated ones are refused: a take is one picture, and a
    first frame would show something else than the file that is kept. What is not the picture is
    left out (projects/decoder.py): where a photo was taken, and files that are something else, too.
    """
    if len(data) > MAX_BYTES:
        raise BadPicture("too_many_bytes")
    kind = _kind_of(data)
    found, thumbnail = _decode(data, kind)
    whole = _kept(data, found["parts"])
    return Picture(
        data=whole,
        content_type=kind.content_type,
        extension=kind.extension,
        width=found["width"],
        height=found["height"],
        sha256=hashlib.sha256(whole).hexdigest(),
        thumbnail=thumbnail,
    )


def copy_within(data: bytes, most_bytes: int, most_pixels: int, most_edge: int) -> bytes:
    """A JPEG of a picture that was checked before, no larger than this, for somebody who takes no
    more. Raises BadPicture, or DecoderDown if it cannot be made now."""
    limits = (most_bytes, most_pixels, most_edge)
    return _decode(data, _kind_of(data), *map(str, limits))[1]


def _kept(data: bytes, parts: list[list[int] | str]) -> bytes:
    """The file that the decoder says is to be kept: pieces of what came, and new bytes."""
    if parts == [[0, len(data)]]:
        return data
    view = memoryview(data)
    return b"".join(b64decode(p) if isinstance(p, str) else view[p[0] : p[1]] for p in parts)


def store(picture: Picture, name: str) -> Stored:
    """Keeps a picture as `takes/<name>.<extension>`, its thumbnail beside it. Raises StorageDown.

    `name` belongs to one picture for ever; storing it again under that name changes nothing.
    """
    return Stored(
        image=_keep(f"takes/{name}.{picture.extension}", picture.data, picture.content_type),
        thumbnail=_keep(f"takes/{name}.thumb.webp", picture.thumbnail, WEBP.content_type),
        content_type=picture.content_type,
        width=picture.width,
        height=picture.height,
        size=len(picture.data),
        sha256=picture.sha256,
    )


def read(name: str) -> bytes:
    """A stored file, whole. Raises PictureGone or StorageDown."""
    try:
        with default_storage.open(name) as file:
            data: bytes = file.read()
    except FileNotFoundError as error:
        raise PictureGone(name) from error
    except STORAGE_ERRORS as error:
        raise StorageDown(f"{name}: {error}") from error
    return data


def _kind_of(data: bytes) -> Kind:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WEBP
    raise BadPicture("not_a_picture")


def _decode(data: bytes, kind: Kind, *limits: str) -> tuple[dict[str, Any], bytes]:
    """The decoder's answer: what it found, and the thumbnail, or with limits the copy.

    It answers into a file, which its limits bound; a pipe it could fill for ever.
    """
    try:
        with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as answer:
            file.write(data)
            file.seek(0)
            _judge(decoders.decode(" ".join([kind.name, *limits]), file, answer))
            answer.seek(0)
            found: dict[str, Any] = json.loads(answer.readline())
            if "fault" in found:
                raise BadPicture(found["fault"])
            return found, answer.read()
    except decoders.Slow as error:
        raise DecoderSlow(str(error)) from error
    except OSError as error:
        raise DecoderDown(str(error)) from error


def _judge(code: int) -> None:
    """A signal that the picture caused is its fault; any other bad end is this machine's."""
    if code == -signal.SIGXCPU:
        raise BadPicture("too_costly")
    if code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGFPE):
        log.error("The picture decoder crashed: %s", signal.Signals(-code).name)
        raise BadPicture("broken")
    if code != 0:
        raise DecoderDown(f"the decoder ended with {code}")


def _keep(name: str, data: bytes, content_type: str) -> str:
    try:
        return default_storage.save(name, SimpleUploadedFile(name, data, content_type))
    except STORAGE_ERRORS as error:
        raise StorageDown(f"{name}: {error}") from error
