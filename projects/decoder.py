"""The process that decodes pictures: started by projects/decoders.py, never imported.

Its standard input is a socket. Each message is one picture: its words, and two open files, the one
to read and the one to answer into. It forks a child for it, and answers with the child's exit code.

    PNG|JPEG|WEBP                      → one line of JSON, then the thumbnail (WebP)
    PNG|JPEG|WEBP BYTES PIXELS EDGE    → …, then a JPEG of at most those

The line is {"width", "height", "parts"}, or {"fault": a code of BadPicture}. The parts, one behind
the other, are the file to keep: [from, to] is a piece of the file that came, and a string is new
bytes in base64. What is kept has been decoded whole, and has nothing but the picture in it: its
pixels, its colours, and which way up it is. Comments, EXIF (the place where it was taken), XMP,
previews, other files and programs stay behind.

Whatever else ends the child (a signal, an exit code) is for whoever asked to judge. This process
itself looks at no picture. It imports nothing of ours and not Django: it is small, and starts fast.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import resource
import signal
import socket
import struct
import sys
import warnings
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from PIL import Image, ImageFile
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

MAX_PIXELS = 50_000_000
MAX_EDGE = 16_384
# What a picture's pixels may take while they are decoded; with it this process stays below 512 MB.
PIXEL_BYTES = 360_000_000
MAX_PARTS = 1000
THUMBNAIL_EDGE = 960
BAND_PIXELS = 4_000_000
CPU_SECONDS = 10
WALL_SECONDS = 20  # longer than anybody waits for it (decoders.py)
MEMORY_BYTES = 700_000_000  # of addresses, of which the programs themselves take a part
OUTPUT_BYTES = 8_000_000
COPY_PIXELS = 20_000_000  # of a copy: with more, it would not fit into OUTPUT_BYTES anyway
COPY_QUALITIES = (95, 90, 80)

# What a PNG may consist of, and how many bytes of it; None: whatever it needs.
PNG_CHUNKS = {
    b"IHDR": 13,
    b"PLTE": 768,
    b"IDAT": None,
    b"IEND": 0,
    b"tRNS": 256,
    b"cHRM": 32,
    b"gAMA": 4,
    b"iCCP": None,
    b"sBIT": 4,
    b"sRGB": 1,
    b"cICP": 4,
    b"mDCV": 24,
    b"cLLI": 8,
    b"pHYs": 9,
}
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the type of colour
PNG_PASSES = (  # first column and row, and how far it is to the next, of the interlaced form
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
PIECE_BYTES = 65_536
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF: a picture's size and components
JPEG_SEGMENTS = {*JPEG_FRAMES, 0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD}  # and its tables and scans
WEBP_STILL = (b"ICCP", b"ALPH", b"VP8 ", b"VP8L")
WEBP_ICC, WEBP_ALPHA, WEBP_EXIF = 0x20, 0x10, 0x08

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)


class Fault(Exception):
    """The picture is refused; the only argument is the code."""


class Clean:
    """What is kept of a file, and what is learnt on the way. Slices and new bytes, in order."""

    def __init__(self, data: bytes, *, with_profile: bool) -> None:
        self.data = data
        self.with_profile = with_profile
        self.parts: list[tuple[int, int] | bytes] = []
        self.has_profile = False
        self.orientation = 1

    def wants(self, *, is_profile: bool) -> bool:
        if not is_profile:
            return True
        self.has_profile = self.with_profile
        return self.with_profile

    def keep(self, start: int, end: int) -> None:
        last = self.parts[-1] if self.parts else b""
        if isinstance(last, tuple) and last[1] == start:
            self.parts[-1] = (last[0], end)
        else:
            self.parts.append((start, end))

    def add(self, new: bytes) -> None:
        if new:
            self.parts.append(new)

    def turn(self, exif: bytes) -> bytes:
        """An EXIF block that says which way is up and nothing else; b"" where nothing is said."""
        if self.orientation != 1:
            return b""  # said before
        with suppress(Exception):  # senseless EXIF is none
            found = Image.Exif()
            found.load(exif)
            if found.get(Base.Orientation) in UPRIGHT:
                self.orientation = found[Base.Orientation]
        if self.orientation == 1:
            return b""
        entry = struct.pack(">HHIHxx", Base.Orientation, 3, 1, self.orientation)
        return b"MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)

    def file(self) -> bytes:
        if self.parts == [(0, len(self.data))]:
            return self.data
        view = memoryview(self.data)
        return b"".join(p if isinstance(p, bytes) else view[p[0] : p[1]] for p in self.parts)

    def answer(self) -> list[list[int] | str]:
        return [b64encode(p).decode() if isinstance(p, bytes) else list(p) for p in self.parts]


def main() -> None:
    line = socket.socket(fileno=sys.stdin.fileno())
    with suppress(ConnectionError):  # whoever started this process is gone
        while True:
            words, files, _, _ = socket.recv_fds(line, 100, 2)
            if not words:
                return None
            child = os.fork()
            if not child:
                line.close()
                return decode_one(words.decode().split(), *files)
            for file in files:
                os.close(file)
            line.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def decode_one(words: Sequence[str], file: int, into: int) -> None:
    limit_this_process()
    kind, *limits = words
    with open(file, "rb") as given, open(into, "wb") as taken:
        found, picture = answer(given.read(), kind, [int(limit) for limit in limits])
        taken.write(json.dumps(found).encode() + b"\n" + picture)


def answer(data: bytes, kind: str, limits: Sequence[int] = ()) -> tuple[dict[str, Any], bytes]:
    try:
        return copy_within(data, kind, *limits) if limits else decode(data, kind)
    except Fault as fault:
        return {"fault": str(fault)}, b""
    except MemoryError:
        return {"fault": "too_costly"}, b""
    except Image.DecompressionBombError:
        return {"fault": "too_many_pixels"}, b""
    except Exception:
        # Pillow raises whatever its plugins trip over: OSError, SyntaxError, ValueError, …
        return {"fault": "broken"}, b""


def limit_this_process() -> None:
    signal.alarm(WALL_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS refuses RLIMIT_AS; there only PIXEL_BYTES bounds the memory
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        # Where memory runs out all the same, this process is the one to go, not the worker.
        with open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 - pathlib takes long to load
            score.write("1000")


def decode(data: bytes, kind: str, *, with_profile: bool = True) -> tuple[dict[str, Any], bytes]:
    """What the file is, what of it is kept, and its thumbnail."""
    warnings.simplefilter("ignore")  # Pillow warns of many pixels before we can refuse them
    cleans, opens = KINDS[kind]
    clean = Clean(data, with_profile=with_profile)
    cleans(clean)
    if len(clean.parts) > MAX_PARTS:
        raise Fault("broken")
    with opens(io.BytesIO(clean.file())) as image:
        width, height = image.size
        check_size(width, height)
        if not clean.has_profile or makes_sense(image.info.get("icc_profile")):
            image.load()
            if clean.orientation in SIDEWAYS:
                width, height = height, width
            found = {"width": width, "height": height, "parts": clean.answer()}
            return found, thumbnail_of(image, clean.orientation)
    return decode(data, kind, with_profile=False)


def check_size(width: int, height: int, bytes_per_pixel: float = 4) -> None:
    pixels = width * height
    if max(width, height) > MAX_EDGE or pixels > MAX_PIXELS:
        raise Fault("too_many_pixels")
    if pixels * bytes_per_pixel > PIXEL_BYTES:
        raise Fault("too_costly")


# What is kept of each kind


def clean_png(clean: Clean) -> None:
    """The chunks of PNG_CHUNKS up to IEND, with the checksums and the pixels that they say."""
    clean.keep(0, 8)
    data, at, kind, rows = memoryview(clean.data), 8, b"", None
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        start, at = at, at + 12 + length
        if at > len(data):
            raise Fault("broken")
        body = data[start + 8 : at - 4]
        if kind == b"acTL" and int.from_bytes(body[:4], "big") > 1:
            raise Fault("animated")
        if kind == b"eXIf":
            clean.add(png_chunk(kind, clean.turn(bytes(body))))
        elif fits_in_png(kind, length) and clean.wants(is_profile=kind == b"iCCP"):
            if zlib.crc32(data[start + 4 : at - 4]) != int.from_bytes(data[at - 4 : at], "big"):
                raise Fault("broken")
            clean.keep(start, at)
        if kind == b"IHDR":
            rows = Rows(body)
        if kind == b"IDAT" and rows:
            rows.take(body)
    if rows:
        rows.check_end()


class Rows:
    """The pixels of a PNG while they are inflated: neither fewer nor more than its header says.

    Pillow takes what it needs, so that half a picture would be one, with anything behind it.
    """

    def __init__(self, header: memoryview) -> None:
        width, height, bits, colour, interlaced = struct.unpack(">IIBBxxB", header)
        check_size(width, height)
        pixel = bits * PNG_CHANNELS[colour]
        self._left = 0  # bytes that are still to come
        for left, top, right, down in PNG_PASSES if interlaced else ((0, 0, 1, 1),):
            columns, rows = -((left - width) // right), -((top - height) // down)
            self._left += rows * (1 + (columns * pixel + 7) // 8) if columns > 0 else 0
        self._inflate = zlib.decompressobj()

    def take(self, packed: memoryview) -> None:
        for at in range(0, len(packed), PIECE_BYTES):
            piece: memoryview | bytes = packed[at : at + PIECE_BYTES]
            while piece:
                if self._inflate.eof:
                    raise Fault("broken")
                self._count(self._inflate.decompress(piece, 16 * PIECE_BYTES))
                piece = self._inflate.unconsumed_tail

    def check_end(self) -> None:
        self._count(self._inflate.flush())
        if self._left or not self._inflate.eof or self._inflate.unused_data:
            raise Fault("broken")

    def _count(self, inflated: bytes) -> None:
        self._left -= len(inflated)
        if self._left < 0:
            raise Fault("broken")


def fits_in_png(kind: bytes, length: int) -> bool:
    most = PNG_CHUNKS.get(kind, -1)
    fits = most is None or length <= most
    if not fits and kind in (b"IHDR", b"PLTE", b"IEND"):
        raise Fault("broken")
    return fits


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Nothing for nothing."""
    if not body:
        return b""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def clean_jpeg(clean: Clean) -> None:
    """Tables, frame and scans up to EOI. Segments are skipped by their length, coded data up to
    the next marker."""
    clean.keep(0, 2)
    data, at, scans, is_coded = clean.data, 2, 0, False
    frames: list[tuple[int, bytes]] = []
    while marker := JPEG_MARKER.search(data, at):
        start, begin = marker.end() - 2, marker.end()
        code = data[begin - 1]
        if is_coded:
            clean.keep(at, start)
        is_coded = code == 0xDA
        if code == 0xD9:
            clean.keep(start, begin)
            check_frames(frames, scans)
            return
        if code in (0x01, 0xD8):  # these two have no length
            at = begin
            continue
        at = begin + int.from_bytes(data[begin : begin + 2], "big")
        if not begin + 2 <= at <= len(data):
            raise Fault("broken")
        segment = data[begin + 2 : at]
        scans += is_coded
        if code in JPEG_FRAMES:
            frames.append((code, segment))
        if code == 0xE1 and segment.startswith(b"Exif\0\0"):
            clean.add(jpeg_exif(clean.turn(segment)))
        elif fits_in_jpeg(code, segment) and clean.wants(is_profile=code == 0xE2):
            clean.keep(start, at)
    raise Fault("broken")


def fits_in_jpeg(code: int, segment: bytes) -> bool:
    """Of the application's own segments, those that say what the colours mean."""
    return (
        code in JPEG_SEGMENTS
        or (code == 0xE0 and segment.startswith(b"JFIF\0") and len(segment) == 14)
        or (code == 0xE2 and segment.startswith(b"ICC_PROFILE\0"))
        or (code == 0xEE and segment.startswith(b"Adobe") and len(segment) == 12)
    )


def jpeg_exif(exif: bytes) -> bytes:
    if not exif:
        return b""
    return b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(exif)) + b"Exif\0\0" + exif


def check_frames(frames: list[tuple[int, bytes]], scans: int) -> None:
    """A picture in more than one scan is held as coefficients, two bytes each, until the last."""
    for code, frame in frames:
        height, width = struct.unpack_from(">xHH", frame)
        sampling = [(c >> 4) * (c & 15) for c in frame[7::3]]
        in_parts = scans > 1 or code in (0xC2, 0xC6, 0xCA, 0xCE)
        per_pixel = sum(sampling) / max(1, *sampling) if sampling else 0
        check_size(width, height, 4 + 2 * per_pixel * in_parts)


def clean_webp(clean: Clean) -> None:
    """The still picture with its profile. The header is written anew where it says something else.

    Pillow's decoder holds four copies of it, and takes the memory before it can be asked for the
    size.
    """
    data, end = clean.data, 8 + int.from_bytes(clean.data[4:8], "little")
    if end > len(data):
        raise Fault("broken")
    kept: dict[bytes, tuple[int, int]] = {}
    exif, at = b"", 12
    while at < end:
        kind, start = data[at : at + 4], at
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
        if start + 8 + size > end:
            raise Fault("broken")
        body = data[start + 8 : start + 8 + size]
        if kind in (b"ANIM", b"ANMF"):
            raise Fault("animated")
        check_webp_size(kind, body)
        if kind == b"EXIF":
            exif = exif or clean.turn(body)
        elif kind in WEBP_STILL and kind not in kept and clean.wants(is_profile=kind == b"ICCP"):
            kept[kind] = (start, min(at, end))
        if data[12:15] == b"VP8" and data[12:16] != b"VP8X":
            break  # the simple form: one chunk is all
    pieces = list(kept.values())
    if exif:
        exif = b"EXIF" + struct.pack("<I", len(exif)) + exif
    extended = webp_features(data, kept, bool(exif))
    length = 4 + len(extended) + sum(e - s for s, e in pieces) + len(exif)
    header = b"RIFF" + struct.pack("<I", length) + b"WEBP" + extended
    if data.startswith(header):
        clean.keep(0, len(header))
    else:
        clean.add(header)
    for start, at in pieces:
        clean.keep(start, at)
    clean.add(exif)


def webp_features(data: bytes, kept: dict[bytes, tuple[int, int]], has_exif: bool) -> bytes:
    """The chunk VP8X, which says what else is there; b"" in the simple form."""
    if data[12:16] != b"VP8X":
        return b""
    flags = data[20] & WEBP_ALPHA
    flags |= WEBP_ICC * (b"ICCP" in kept) | WEBP_EXIF * has_exif
    return b"VP8X" + struct.pack("<IB3x", 10, flags) + data[24:30]


def check_webp_size(kind: bytes, body: bytes) -> None:
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    else:
        return
    check_size(width, height, 16)


KINDS: dict[str, tuple[Callable[[Clean], None], type[ImageFile.ImageFile]]] = {
    "PNG": (clean_png, PngImageFile),
    "JPEG": (clean_jpeg, JpegImageFile),
    "WEBP": (clean_webp, WebPImageFile),
}


# Copies


def copy_within(
    data: bytes, kind: str, most_bytes: int, most_pixels: int, most_edge: int
) -> tuple[dict[str, Any], bytes]:
    """A JPEG of a picture that we keep, as large and as good as the limits allow; upright, sRGB,
    on white where it was transparent."""
    warnings.simplefilter("ignore")
    with KINDS[kind][1](io.BytesIO(data)) as image:
        check_size(*image.size)
        profile = image.info.get("icc_profile")
        orientation = image.getexif().get(Base.Orientation)
        scale = min(
            1,
            math.sqrt(min(most_pixels, COPY_PIXELS) / (image.width * image.height)),
            most_edge / max(image.size),
        )
        plain = in_plain_mode(image)
        size = [max(1, int(edge * scale)) for edge in image.size]
        copy = in_srgb(plain.resize(size) if scale < 1 else plain, profile)
    if copy.mode == "RGBA":
        copy = Image.alpha_composite(Image.new("RGBA", copy.size, "white"), copy).convert("RGB")
    if orientation in UPRIGHT:
        copy = copy.transpose(UPRIGHT[orientation])
    copy.info.clear()
    while copy.width > 1 and copy.height > 1:
        for quality in COPY_QUALITIES:
            out = io.BytesIO()
            copy.save(out, "JPEG", quality=quality)
            if out.tell() <= min(most_bytes, OUTPUT_BYTES - PIECE_BYTES):
                return {"width": copy.width, "height": copy.height}, out.getvalue()
        copy = copy.resize((max(1, copy.width * 4 // 5), max(1, copy.height * 4 // 5)))
    raise Fault("too_many_bytes")


# Thumbnails


def thumbnail_of(image: ImageFile.ImageFile, orientation: int) -> bytes:
    """WebP, longest edge at most 960, upright, sRGB, without any metadata."""
    small = shrunk(image)
    small.thumbnail((THUMBNAIL_EDGE, THUMBNAIL_EDGE))
    if orientation in UPRIGHT:
        small = small.transpose(UPRIGHT[orientation])
    small = in_srgb(small, image.info.get("icc_profile"))
    small.info.clear()
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80, method=2)  # in half the time of 4, and 4 % larger
    return out.getvalue()


def shrunk(image: Image.Image) -> Image.Image:
    """At least twice a thumbnail's size, in a plain mode. Band by band: converting the whole
    picture would take its memory once or twice more."""
    factor = max(1, max(image.size) // (2 * THUMBNAIL_EDGE))
    width, height = image.size
    rows = max(1, BAND_PIXELS // (width * factor)) * factor
    bands = [
        in_plain_mode(image.crop((0, top, width, min(height, top + rows)))).reduce(factor)
        for top in range(0, height, rows)
    ]
    small = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    for number, band in enumerate(bands):
        small.paste(band, (0, number * rows // factor))
    return small


def in_plain_mode(image: Image.Image) -> Image.Image:
    """A mode that can be made smaller smoothly: palettes and bitmaps cannot, nor 16-bit greys."""
    if image.mode.startswith("I"):
        return image.point(lambda value: value / 256).convert("L")
    if image.mode in ("1", "P") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def makes_sense(profile: bytes | None) -> bool:
    """A colour profile, and nothing behind it."""
    from PIL import ImageCms

    if not profile or not 0 <= len(profile) - int.from_bytes(profile[:4], "big") < 4:
        return False
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except OSError:
        return False
    return True


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The same colours without the file's colour profile, which the thumbnail does not carry."""
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile:
        from PIL import ImageCms

        try:
            srgb = ImageCms.createProfile("sRGB")
            turned = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode=mode)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile for another kind of picture is no profile
        else:
            return turned or image
    return image.convert(mode)


if __name__ == "__main__":
    main()
