"""The child process that decodes one picture: started by projects/pictures.py, never imported.

    python -I decoder.py PNG|JPEG|WEBP  < the file  > one line of JSON, then the thumbnail (WebP)

The line is {"width", "height", "end"}, or {"fault": a code of BadPicture}. Whatever else ends this
process (a signal, an exit code) is for the parent to judge. It imports nothing of ours and not
Django, so that it starts in a twentieth of a second.
"""

from __future__ import annotations

import io
import json
import re
import resource
import struct
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageFile, ImageOps
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

MAX_PIXELS = 50_000_000
MAX_EDGE = 16_384
THUMBNAIL_EDGE = 960
CPU_SECONDS = 10
# The hungriest picture within the limits, a WebP of 50 million pixels, was measured at 1.1 GB.
MEMORY_BYTES = 1_600_000_000
OUTPUT_BYTES = 8_000_000

JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


class Fault(Exception):
    """The picture is refused; the only argument is the code."""


def main() -> None:
    limit_this_process()
    found, thumbnail = answer(sys.stdin.buffer.read(), sys.argv[1])
    sys.stdout.buffer.write(json.dumps(found).encode() + b"\n" + thumbnail)


def answer(data: bytes, kind: str) -> tuple[Mapping[str, int | str], bytes]:
    try:
        return decode(data, kind)
    except Fault as fault:
        return {"fault": str(fault)}, b""
    except (MemoryError, Image.DecompressionBombError):
        return {"fault": "too_many_pixels"}, b""
    except Exception:
        # Pillow raises whatever its plugins trip over: OSError, SyntaxError, ValueError, …
        return {"fault": "broken"}, b""


def limit_this_process() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS refuses RLIMIT_AS; there only MAX_PIXELS bounds the memory
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        # Where memory runs out all the same, this process is the one to go, not the worker.
        Path("/proc/self/oom_score_adj").write_text("1000")


def decode(data: bytes, kind: str) -> tuple[dict[str, int], bytes]:
    """What the file is, and its thumbnail. `end`: how many of the bytes are the picture."""
    warnings.simplefilter("ignore")  # Pillow warns of many pixels before we can refuse them
    ends, opens = {
        "PNG": (end_of_png, PngImageFile),
        "JPEG": (end_of_jpeg, JpegImageFile),
        "WEBP": (end_of_webp, WebPImageFile),
    }[kind]
    end = ends(data)
    with opens(io.BytesIO(data[:end])) as image:
        width, height = image.size
        if max(width, height) > MAX_EDGE or width * height > MAX_PIXELS:
            raise Fault("too_many_pixels")
        if getattr(image, "is_animated", False):
            raise Fault("animated")
        image.load()
        if is_turned(image):
            width, height = height, width
        return {"width": width, "height": height, "end": end}, thumbnail_of(image)


def end_of_png(data: bytes) -> int:
    """Where IEND ends. The checksums on the way are Pillow's to check."""
    at = 8
    while True:
        length: int = struct.unpack_from(">I", data, at)[0]
        kind = data[at + 4 : at + 8]
        at += 12 + length
        if at > len(data):
            raise Fault("broken")
        if kind == b"IEND":
            return at


def end_of_jpeg(data: bytes) -> int:
    """Where EOI ends. Segments are skipped by their length, coded data up to the next marker."""
    at = 2
    while marker := JPEG_MARKER.search(data, at):
        at = marker.end()
        code = data[at - 1]
        if code == 0xD9:
            return at
        if code not in (0x01, 0xD8):  # these two have no length
            at += int.from_bytes(data[at : at + 2], "big")
    raise Fault("broken")


def end_of_webp(data: bytes) -> int:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise Fault("broken")
    return end


def is_turned(image: ImageFile.ImageFile) -> bool:
    """Does its EXIF orientation swap width and height, for browsers and people?"""
    return image.getexif().get(Base.Orientation) in (5, 6, 7, 8)


def thumbnail_of(image: ImageFile.ImageFile) -> bytes:
    """WebP, longest edge at most 960, upright, sRGB, without any metadata."""
    small = in_plain_mode(image)
    small.thumbnail((THUMBNAIL_EDGE, THUMBNAIL_EDGE))
    ImageOps.exif_transpose(small, in_place=True)
    small = in_srgb(small)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80)
    return out.getvalue()


def in_plain_mode(image: Image.Image) -> Image.Image:
    """A mode that can be made smaller smoothly: palettes and bitmaps cannot, nor 16-bit greys."""
    if image.mode.startswith("I"):
        return image.point(lambda value: value / 256).convert("L")
    if image.mode in ("1", "P") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def in_srgb(image: Image.Image) -> Image.Image:
    """The same colours without the file's colour profile, which the thumbnail does not carry."""
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile := image.info.get("icc_profile"):
        from PIL import ImageCms

        try:
            srgb = ImageCms.createProfile("sRGB")
            turned = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode=mode)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile that makes no sense is no profile
        else:
            return turned or image
    return image.convert(mode)


if __name__ == "__main__":
    main()
