"""Files that a file host may hand out in the place of a picture. Each is made when it is asked for.

Most are written by hand, byte for byte, because no library makes such files.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

Make = Callable[[], bytes]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HTML = b"<!doctype html><html><script>alert(document.cookie)</script></html>"
PHP = b"<?php system($_GET['c']); ?>"
SCRIPT = b"<script>evil()</script>"
GPS = "Hostile Camera"


# Good pictures, to be spoilt


def image(width: int = 120, height: int = 80, mode: str = "RGB") -> Image.Image:
    return Image.effect_noise((width, height), 60).convert(mode)


def encoded(kind: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    (picture or image()).save(out, kind, **options)
    return out.getvalue()


def png() -> bytes:
    return encoded("PNG")


def jpeg() -> bytes:
    return encoded("JPEG")


def webp() -> bytes:
    return encoded("WEBP")


# Pieces


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, bits: int = 1, colour: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def by_hand(
    width: int, height: int, pixels: bytes, extra: bytes = b"", bits: int = 1, colour: int = 0
) -> bytes:
    """A PNG; `pixels` are its compressed rows, grey unless `colour` says otherwise."""
    start = SIGNATURE + header(width, height, bits, colour) + extra
    return start + chunk(b"IDAT", pixels) + chunk(b"IEND")


def zeros(size: int) -> bytes:
    """So many zero bytes, compressed without having them all at once."""
    packer, megabyte = zlib.compressobj(), bytes(1_000_000)
    parts = [packer.compress(megabyte) for _ in range(size // len(megabyte))]
    return b"".join([*parts, packer.compress(bytes(size % len(megabyte))), packer.flush()])


def small(extra: bytes) -> bytes:
    """A good grey PNG of 50 by 50 with something between its header and its pixels."""
    return by_hand(50, 50, zeros(50 * 8), extra)


def segment(code: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def in_jpeg(extra: bytes) -> bytes:
    """A good JPEG with something before its first table."""
    data = jpeg()
    at = data.index(b"\xff\xdb")
    return data[:at] + extra + data[at:]


def riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def part(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as files:
        files.writestr("Evil.class", b"\xca\xfe\xba\xbe")
        files.writestr("META-INF/MANIFEST.MF", "Main-Class: Evil\n")
    return out.getvalue()


def gps() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0131] = GPS, SCRIPT.decode()
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 55.0), 3: "E", 4: (17.0, 6.0, 35.0)})
    return exif


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


# Of another type


def gif(frames: int = 1) -> bytes:
    """By hand: so many pictures of one pixel."""
    one = b"\x21\xf9\x04\0\1\0\0\0\x2c\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + one * frames + b";"


def icon() -> bytes:
    inside = png()
    head = struct.pack("<HHHBBBBHHII", 0, 1, 1, 120, 80, 0, 0, 1, 32, len(inside), 22)
    return head + inside


def psd() -> bytes:
    return (
        b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 80, 120, 8, 3) + bytes(14) + bytes(28_800)
    )


def heic() -> bytes:
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(2000)


def jpeg_xl() -> bytes:
    return b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl " + bytes(2000)


def mp4() -> bytes:
    return b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(5000)


def postscript() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file closefile\n"


def portable() -> bytes:
    return b"P6 16000 16000 255\n" + bytes(100_000)


def elf() -> bytes:
    return b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\x3e\0" + bytes(3000)


SVG = (
    b"<?xml version='1.0'?>%s<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'>%s</svg>"
)


def svg_script() -> bytes:
    return SVG % (b"", SCRIPT)


def svg_entity() -> bytes:
    doctype = b"<!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
    return SVG % (doctype, b"<text>&x;</text>")


def svg_laughs() -> bytes:
    laughs = b"".join(b"<!ENTITY l%d '%s'>" % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    return SVG % (b"<!DOCTYPE svg [<!ENTITY l0 'lol'>" + laughs + b"]>", b"<text>&l9;</text>")


def svg_huge() -> bytes:
    return SVG % (b"", b"<g>" * 5_000_000)


def svg_with_png() -> bytes:
    link = b"<image href='data:image/png;base64,iVBORw0KGgo=' xlink:href='http://127.0.0.1/'/>"
    return SVG % (b"", link)


def svg_packed() -> bytes:
    return gzip.compress(svg_script())


# Bombs


def png_30000() -> bytes:
    return by_hand(30_000, 30_000, zeros(30_000 * 3751))


def png_16384() -> bytes:
    return by_hand(16_384, 16_384, zeros(16_384 * 2049))


def png_says(width: int, height: int) -> Make:
    """A header, and hardly any pixels."""
    return lambda: by_hand(width, height, zeros(1000))


def jpeg_says(width: int, height: int, **options: Any) -> Make:
    """A small JPEG with another size in its frame."""

    def make() -> bytes:
        data = bytearray(encoded("JPEG", image(64, 64, options.pop("mode", "RGB")), **options))
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
        return bytes(data)

    return make


def webp_says(width: int, height: int) -> Make:
    """One colour takes no bits, however large: a whole lossless picture of 40 bytes."""

    def make() -> bytes:
        data = bytearray(encoded("WEBP", Image.new("RGB", (100, 100)), lossless=True))
        bits = int.from_bytes(data[21:25], "little") & ~0xFFFFFFF
        data[21:25] = (bits | (width - 1) | (height - 1) << 14).to_bytes(4, "little")
        return bytes(data)

    return make


def webp_canvas() -> bytes:
    data = bytearray(encoded("WEBP", image(mode="RGBA"), exif=gps()))
    data[24:30] = b"\xff" * 6
    return bytes(data)


def webp_lossy_says() -> bytes:
    data = bytearray(webp())
    data[26:30] = b"\xff\x3f\xff\x3f"
    return bytes(data)


def animated_png() -> bytes:
    """5,000 pictures of 4 by 4."""
    pixels, number = zeros(4 * 2), 0
    parts = [SIGNATURE, header(4, 4), chunk(b"acTL", struct.pack(">II", 5000, 0))]
    for at in range(5000):
        parts.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 4, 4, 0, 0, 1, 10, 0, 0)))
        number += 1
        if at == 0:
            parts.append(chunk(b"IDAT", pixels))
            continue
        parts.append(chunk(b"fdAT", struct.pack(">I", number) + pixels))
        number += 1
    return b"".join([*parts, chunk(b"IEND")])


def animated_webp() -> bytes:
    still = encoded("WEBP", Image.new("RGB", (16, 16)), lossless=True)[12:]
    frame = part(b"ANMF", bytes(6) + b"\x0f\0\0\x0f\0\0" + b"\x0a\0\0\0" + still)
    features = part(b"VP8X", b"\2\0\0\0\x0f\0\0\x0f\0\0")
    return riff(features + part(b"ANIM", bytes(6)) + frame * 3000)


def scans() -> bytes:
    """A progressive JPEG whose last scan comes 60,000 times: minutes of work in 4 MB."""
    data = encoded("JPEG", Image.new("RGB", (2400, 2400)), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 60_000 + data[-2:]


def segments() -> bytes:
    return b"\xff\xd8" + b"\xff\xfe\0\2" * 9_900_000 + jpeg()[2:]


def markers() -> bytes:
    return b"\xff\xd8" + b"\xff" * 39_000_000


def chunks() -> bytes:
    return small(chunk(b"tEXt") * 3_200_000)


def pieces() -> bytes:
    """A comment between any two of 5,000 tables."""
    data = jpeg()
    table = data[data.index(b"\xff\xdb") :][: 2 + 67]
    return data[:2] + (segment(0xFE, b"x") + table) * 5000 + data[2:]


def profile_bomb() -> bytes:
    return small(chunk(b"iCCP", b"p\0\0" + zeros(60_000_000)))


def too_many_bytes() -> bytes:
    return png() + bytes(40_000_001)


def packed_bomb() -> bytes:
    return gzip.compress(zeros(60_000_000))


# Strips and sizes


def strip(width: int, height: int) -> Make:
    return lambda: by_hand(width, height, zeros(height * ((width + 7) // 8 + 1)))


# Damaged


def changed(make: Make, at: int, to: bytes) -> Make:
    def spoilt() -> bytes:
        data = bytearray(make())
        data[at : at + len(to)] = to
        return bytes(data)

    return spoilt


def cut(make: Make, where: float | int | bytes) -> Make:
    """The beginning of it: so many bytes, that part of it, or up to these bytes."""

    def start() -> bytes:
        data = make()
        if isinstance(where, bytes):
            return data[: data.index(where)]
        return data[: int(where * len(data)) if isinstance(where, float) else where]

    return start


def without_pixels() -> bytes:
    return SIGNATURE + header(50, 50) + chunk(b"IEND")


def half_the_pixels() -> bytes:
    return by_hand(50, 50, zeros(25 * 8))


def pixels_and_more() -> bytes:
    return by_hand(50, 50, zeros(50 * 8 + 1))


def behind_the_pixels() -> bytes:
    return by_hand(50, 50, zeros(50 * 8) + HTML)


def pixels_of_noise() -> bytes:
    return by_hand(50, 50, bytes(range(256)) * 4)


def palette_missing() -> bytes:
    return SIGNATURE + header(50, 50, 8, 3) + chunk(b"IDAT", b"") + chunk(b"IEND")


def wrong_depth() -> bytes:
    return by_hand(50, 50, zeros(50 * 51), bits=7)


def wrong_filter() -> bytes:
    return by_hand(50, 50, zlib.compress(b"\x63" * 50 * 8))


def no_end() -> bytes:
    return png()[:-12]


def apple() -> bytes:
    """What Xcode makes of a PNG: raw deflate, and a chunk that says so."""
    raw = zlib.compressobj(wbits=-15)
    rows = raw.compress(bytes(50 * 8)) + raw.flush()
    return SIGNATURE + chunk(b"CgBI", b"\x50\0\x20\2") + by_hand(50, 50, rows)[8:]


def length_of_a_gigabyte() -> bytes:
    return SIGNATURE + header(50, 50) + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(999)


def two_frames() -> bytes:
    """Two sizes in one JPEG."""
    data = jpeg()
    at = data.index(b"\xff\xc0")
    frame = bytearray(data[at : at + 19])
    frame[5:9] = struct.pack(">HH", 9000, 9000)
    return data[:at] + bytes(frame) + data[at:]


def no_tables() -> bytes:
    data = jpeg()
    return data[:2] + data[data.index(b"\xff\xc0") :]


def riff_says(length: int) -> Make:
    return changed(webp, 4, struct.pack("<I", length))


def webp_without_picture() -> bytes:
    return riff(part(b"VP8X", bytes(4) + b"\x77\0\0\x4f\0\0") + part(b"XMP ", SCRIPT))


# Two things at once, and the picture is not the first of them


def before(start: bytes, make: Make) -> Make:
    return lambda: start + make()


def gif_and_archive() -> bytes:
    return gif() + archive()


def gif_and_script() -> bytes:
    return b"GIF89a/*" + gif()[8:] + b"*/=1;alert(1)//"


def mime_message() -> bytes:
    return b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n" + HTML + png()


# Pictures with something more in them: what is kept of them must be the picture alone


def behind(make: Make, tail: bytes) -> Make:
    return lambda: make() + tail


def jpeg_with(**options: Any) -> Make:
    return lambda: encoded("JPEG", **options)


def webp_with(**options: Any) -> Make:
    return lambda: encoded("WEBP", **options)


def jpeg_exif() -> bytes:
    return encoded("JPEG", exif=gps())


def png_exif() -> bytes:
    return encoded("PNG", exif=gps())


def webp_exif() -> bytes:
    return encoded("WEBP", exif=gps())


def png_notes() -> bytes:
    notes = PngInfo()
    notes.add_text("Comment", PHP.decode())
    notes.add_text("Raw profile type exif", SCRIPT.decode(), zip=True)
    notes.add_itxt("XML:com.adobe.xmp", SCRIPT.decode())
    return encoded("PNG", pnginfo=notes)


def png_private() -> bytes:
    return small(chunk(b"caBX", SCRIPT) + chunk(b"prVt", archive()) + chunk(b"tIME", PHP))


def png_odd_lengths() -> bytes:
    """Chunks of colours that are longer than they may be."""
    return small(chunk(b"gAMA", bytes(4) + SCRIPT) + chunk(b"sRGB", b"\0" + PHP))


def jpeg_previews() -> bytes:
    preview = b"JFIF\0\1\1\0\0\1\0\1\x05\x05" + SCRIPT.ljust(75)
    inner = segment(0xE0, preview) + segment(0xE0, b"JFXX\0\x10" + jpeg())
    return in_jpeg(inner + segment(0xED, b"Photoshop 3.0\0" + PHP) + segment(0xEB, b"JP" + SCRIPT))


def jpeg_between() -> bytes:
    return in_jpeg(HTML + b"\xff\x01" + PHP)


def jpeg_and_jpeg() -> bytes:
    return encoded("MPO", save_all=True, append_images=[image(60, 40)])


def webp_unknown() -> bytes:
    body = encoded("WEBP", icc_profile=profile())[12:]
    return riff(body + part(b"EVIL", PHP) + part(b"XMP ", SCRIPT))


def webp_simple() -> bytes:
    return riff(webp()[12:] + part(b"EXIF", SCRIPT) + part(b"EVIL", archive()))


def senseless_profile() -> bytes:
    return encoded("PNG", icc_profile=SCRIPT * 9)


def profile_with_a_tail() -> bytes:
    return encoded("JPEG", icc_profile=profile() + SCRIPT)


def still_animation() -> bytes:
    """One picture, announced as an animation."""
    return small(
        chunk(b"acTL", struct.pack(">II", 1, 0))
        + chunk(b"fcTL", bytes(26))
        + chunk(b"fdAT", SCRIPT)
    )


def text_bomb() -> bytes:
    return small(
        chunk(b"zTXt", b"Comment\0\0" + zeros(60_000_000))
        + chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(60_000_000))
    )


def pixel_bomb() -> bytes:
    """50 by 50 pixels, and then 60 MB that nobody needs to see."""
    return by_hand(50, 50, zeros(60_000_000))


def huge_exif() -> bytes:
    return encoded("WEBP", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + SCRIPT * 1_000_000)


def huge_notes() -> bytes:
    return in_jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + SCRIPT * 2000) * 400)
