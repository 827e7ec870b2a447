"""projects/pictures.py: what is taken for a picture, and what cannot hurt us."""

from __future__ import annotations

import hashlib
import io
import os
import re
import resource
import runpy
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageDraw
from PIL.PngImagePlugin import PngInfo

from projects import decoders, pictures
from projects.pictures import BadPicture, DecoderDown, check

PNG_START = b"\x89PNG\r\n\x1a\n"
RED, BLUE = (200, 30, 30), (30, 30, 200)
PROGRAM = decoders.DECODER.read_text()


def drawing(width: int = 120, height: int = 80, mode: str = "RGB") -> Image.Image:
    """Red with a blue top left corner, so that turning shows."""
    image = Image.new("RGB", (width, height), RED)
    ImageDraw.Draw(image).rectangle((0, 0, width // 2 - 1, height // 2 - 1), BLUE)
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, pixels: bytes, *, bits: int = 1, extra: bytes = b"") -> bytes:
    """A grey PNG by hand; `pixels` are the compressed rows."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@cache
def zeros(size: int) -> bytes:
    """So many zero bytes, compressed without having them all at once."""
    packer, megabyte = zlib.compressobj(), bytes(1_000_000)
    parts = [packer.compress(megabyte) for _ in range(size // len(megabyte))]
    parts += [packer.compress(bytes(size % len(megabyte))), packer.flush()]
    return b"".join(parts)


def thumbnail_of(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(check(data).thumbnail))
    image.load()
    return image


def refusal(data: bytes) -> str:
    with pytest.raises(BadPicture) as caught:
        check(data)
    assert str(caught.value.reason)
    return caught.value.code


def near(pixel: Any, colour: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 25 for a, b in zip(pixel, colour, strict=True))


# What is taken


@pytest.mark.parametrize(
    ("kind", "content_type", "extension"),
    [("PNG", "image/png", "png"), ("JPEG", "image/jpeg", "jpg"), ("WEBP", "image/webp", "webp")],
)
def test_a_picture_is_kept_as_it_came(kind: str, content_type: str, extension: str) -> None:
    data = encoded(drawing(), kind)
    picture = check(data)
    assert picture.data == data
    assert (picture.content_type, picture.extension) == (content_type, extension)
    assert (picture.width, picture.height) == (120, 80)
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    small = Image.open(io.BytesIO(picture.thumbnail))
    assert (small.format, small.size) == ("WEBP", (120, 80))


@pytest.mark.parametrize(
    ("size", "small"), [((2400, 1200), (960, 480)), ((1000, 2000), (480, 960)), ((8, 6), (8, 6))]
)
def test_the_thumbnail_is_at_most_960_and_never_larger_than_the_picture(
    size: tuple[int, int], small: tuple[int, int]
) -> None:
    assert thumbnail_of(encoded(drawing(*size), "PNG")).size == small


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_has_a_true_thumbnail(mode: str) -> None:
    if mode == "I;16":
        image = Image.new(mode, (50, 40), 40_000)
        colour: tuple[int, ...] = (156, 156, 156)
    else:
        image = Image.new("RGB", (50, 40), (255, 255, 255)).convert(mode)
        colour = (255, 255, 255)
    small = thumbnail_of(encoded(image, "PNG"))
    assert near(small.convert("RGB").getpixel((20, 20)), colour)


def test_a_cmyk_jpeg_has_a_thumbnail_of_the_same_colours() -> None:
    small = thumbnail_of(encoded(drawing(mode="CMYK"), "JPEG", quality=95))
    assert near(small.getpixel((100, 60)), RED)


def test_transparency_stays_in_the_thumbnail() -> None:
    image = drawing(mode="RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    assert thumbnail_of(encoded(image, "PNG")).mode == "RGBA"
    palette = Image.new("P", (1200, 900), 3)
    palette.putpalette(bytes(range(30)))
    small = thumbnail_of(encoded(palette, "PNG", transparency=3))
    assert small.convert("RGBA").getpixel((10, 10))[3] == 0  # type: ignore[index]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_upright(orientation: int) -> None:
    """The blue corner is top left for a person, whichever way the camera was held."""
    turned_back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    as_shot = drawing() if turned_back is None else drawing().transpose(turned_back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "A camera with a name"
    picture = check(encoded(as_shot, "JPEG", quality=95, exif=exif))
    assert (picture.width, picture.height) == (120, 80)
    small = Image.open(io.BytesIO(picture.thumbnail))
    assert small.size == (120, 80)
    assert near(small.getpixel((10, 10)), BLUE)
    assert near(small.getpixel((110, 10)), RED)
    assert near(small.getpixel((10, 70)), RED)


def test_nothing_is_kept_but_the_picture() -> None:
    """Not who took it, and not where; its colours stay."""
    exif = Image.Exif()
    exif[0x010F] = "A camera with a name"
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    notes = PngInfo()
    notes.add_text("Comment", "a secret")
    notes.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>a secret</x:xmpmeta>", zip=True)
    notes.add(b"prVt", b"a secret")
    for kind, options in {
        "JPEG": {"comment": b"a secret", "xmp": b"<x:xmpmeta>a secret</x:xmpmeta>"},
        "PNG": {"pnginfo": notes},
        "WEBP": {"xmp": b"<x:xmpmeta>a secret</x:xmpmeta>", "lossless": True},
    }.items():
        plain = encoded(drawing(), kind, **options | {"icc_profile": profile})
        picture = check(encoded(drawing(), kind, **options, icc_profile=profile, exif=exif))
        assert b"secret" in plain or kind == "PNG"
        for data in (picture.data, picture.thumbnail):
            assert b"camera" not in data and b"secret" not in data and b"xmp" not in data.lower()
        kept = Image.open(io.BytesIO(picture.data))
        assert not {"exif", "xmp", "comment", "Comment", "XML:com.adobe.xmp"} & kept.info.keys()
        assert kept.info["icc_profile"] == profile
        assert pixels(picture.data) == pixels(plain)
        assert check(picture.data).data == picture.data, "what is clean stays as it is"


def pixels(data: bytes) -> bytes:
    return Image.open(io.BytesIO(data)).tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(9))
def test_which_way_up_a_picture_is_stays_known(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "A camera with a name"
    picture = check(encoded(drawing(), kind, exif=exif))
    kept = Image.open(io.BytesIO(picture.data)).getexif()
    assert dict(kept) == ({0x0112: orientation} if orientation in range(2, 9) else {})
    assert (picture.width > picture.height) is (orientation < 5)
    assert b"camera" not in picture.data
    assert check(picture.data).data == picture.data


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_is_the_same_picture_as_before(mode: str) -> None:
    image = Image.effect_noise((90, 70), 80).convert("RGB" if mode == "P" else "L")
    data = encoded(image.convert(mode), "PNG", compress_level=1)
    assert check(data).data == data
    assert pixels(check(data + b"tail").data) == pixels(data)


def test_a_thumbnail_in_bands_is_the_whole_picture() -> None:
    """Each band is turned and made smaller by itself; the seams must not show."""
    slope = Image.linear_gradient("L").resize((3000, 7001), Image.Resampling.BICUBIC)
    small = thumbnail_of(encoded(slope.convert("RGB"), "PNG")).convert("L")
    assert small.size == (411, 960)
    assert all(abs(small.getpixel((200, y)) - y * 255 / 960) < 4 for y in range(960))  # type: ignore[operator]


def test_a_colour_profile_is_turned_into_plain_colours() -> None:
    """In this profile red and blue are exchanged; a thumbnail that ignores it would be blue."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.find(b"rXYZ", 128), profile.find(b"bXYZ", 128)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    data = encoded(Image.new("RGB", (40, 30), BLUE), "PNG", icc_profile=bytes(profile))
    assert near(thumbnail_of(data).getpixel((20, 15)), RED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_senseless_colour_profile_is_left_out(kind: str) -> None:
    real = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (b"senseless" * 30, real + b"senseless", bytes(3)):
        data = encoded(drawing(), kind, icc_profile=profile)
        picture = check(data)
        assert near(thumbnail_of(data).getpixel((110, 70)), RED)
        assert "icc_profile" not in Image.open(io.BytesIO(picture.data)).info
        assert b"senseless" not in picture.data


def test_a_profile_for_other_colours_does_no_harm() -> None:
    """Grey pixels with a profile for colours."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    small = thumbnail_of(encoded(drawing(mode="L"), "PNG", icc_profile=profile))
    assert small.size == (120, 80)
    assert "icc_profile" not in small.info


def test_senseless_exif_does_no_harm() -> None:
    data = encoded(drawing(), "JPEG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff senseless")
    assert check(data).width == 120


def test_a_photo_with_a_second_picture_inside_is_its_first() -> None:
    """Phones append pictures (MPO); what is kept is the one that browsers show."""
    first, second = drawing(), drawing(60, 40)
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    picture = check(data)
    assert (picture.width, picture.height) == (120, 80)
    assert len(picture.data) < len(data)
    assert picture.data.endswith(b"\xff\xd9")
    assert check(picture.data).sha256 == picture.sha256


# What is not a picture


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!doctype html><title>502 Bad Gateway</title>",
        b'{"code": 500, "msg": "error"}',
        b"%PDF-1.7",
        b"RIFF\x24\0\0\0WAVEfmt ",
        encoded(drawing(), "GIF"),
        encoded(drawing(), "BMP"),
        encoded(drawing(), "TIFF"),
        encoded(drawing(), "JPEG2000"),
        encoded(drawing(), "AVIF"),
        b"\n" + encoded(drawing(), "PNG"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_anything_else_is_not_a_picture(data: bytes) -> None:
    assert refusal(data) == "not_a_picture"


@pytest.mark.parametrize("start", [PNG_START, b"\xff\xd8\xff\xe0", b"RIFF\x20\0\0\0WEBPVP8 "])
@pytest.mark.parametrize("rest", [b"", b"<script>alert(1)</script>" * 9, bytes(999), b"\xff" * 999])
def test_a_start_alone_makes_no_picture(start: bytes, rest: bytes) -> None:
    assert refusal(start + rest) == "broken"


def test_an_animation_is_refused() -> None:
    frames = [drawing(), drawing().transpose(Image.Transpose.ROTATE_180)]
    for kind in ("WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert refusal(data) == "animated"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_cut_short_anywhere_is_broken(kind: str) -> None:
    data = encoded(Image.effect_noise((90, 70), 80), kind)
    for length in (20, len(data) // 2, len(data) - 1):
        assert refusal(data[:length]) == "broken"


@pytest.mark.parametrize("at", [20, 100, 3000, -20])
def test_a_png_with_a_changed_bit_is_broken(at: int) -> None:
    data = bytearray(encoded(Image.effect_noise((90, 70), 80), "PNG"))
    data[at] ^= 1
    assert refusal(bytes(data)) == "broken"


def test_a_png_without_its_pixels_is_broken() -> None:
    assert refusal(png(50, 50, zlib.compress(bytes(20)))) == "broken"
    assert refusal(png(50, 50, b"")) == "broken"
    assert refusal(png(0, 50, zeros(50))) == "broken"


# What is two things at once


HTML = b"<html><script>alert(document.cookie)</script></html>"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("tail", [HTML, b"PK\x03\x04" + bytes(3000), b"\xff\xd9" + HTML, bytes(9)])
def test_what_stands_behind_a_picture_is_cut_off(kind: str, tail: bytes) -> None:
    data = encoded(drawing(), kind)
    picture = check(data + tail)
    assert picture.data == data
    assert picture.sha256 == hashlib.sha256(data).hexdigest()


def test_an_end_mark_inside_a_segment_is_not_the_end() -> None:
    """An EXIF thumbnail is a whole JPEG inside a segment."""
    exif = Image.Exif()
    exif[0x010F] = "inner"
    inside = {"exif": exif, "comment": b"\xff\xd8 inner \xff\xd9", "progressive": True}
    data = encoded(drawing(), "JPEG", **inside)
    assert b"inner \xff\xd9" in data
    kept = check(data).data
    assert kept.endswith(data[-500:])
    assert pixels(kept) == pixels(data)


def test_fill_bytes_before_a_marker_do_no_harm() -> None:
    data = encoded(drawing(), "JPEG", progressive=True)
    filled = data.replace(b"\xff\xdb", b"\xff\xff\xff\xdb").replace(b"\xff\xda", b"\xff\xff\xda")
    filled = filled[:-2] + b"\xff\xff" + filled[-2:]
    assert len(filled) > len(data) + 8
    assert pixels(check(filled).data) == pixels(data)


def test_what_stands_between_the_segments_is_left_out() -> None:
    data = encoded(drawing(), "JPEG")
    at = data.index(b"\xff\xdb")
    assert check(data[:at] + HTML + data[at:]).data == data


def test_a_file_in_too_many_pieces_is_broken() -> None:
    """The list of what is kept must not become long."""
    data = encoded(drawing(), "JPEG", optimize=True)
    table = data[data.index(b"\xff\xdb") :][: 2 + 67]
    note = b"\xff\xfe\0\x03x"
    assert check(data[:2] + (note + table) * 400 + data[2:]).width == 120
    assert refusal(data[:2] + (note + table) * 2000 + data[2:]) == "broken"


# Bombs


def test_too_many_bytes() -> None:
    assert refusal(encoded(drawing(), "PNG") + bytes(pictures.MAX_BYTES)) == "too_many_bytes"


def test_a_bomb_of_pixels() -> None:
    side = 30_000
    data = png(side, side, zeros(side * (side // 8 + 1)))
    assert len(data) < 200_000
    assert refusal(data) == "too_many_pixels"


@pytest.mark.parametrize(
    ("width", "height", "fine"),
    [
        (16_384, 3_000, True),
        (16_385, 10, False),
        (10, 16_385, False),
        (16_384, 1, True),
        (1, 16_384, True),
        (7_100, 7_100, False),
        (7_071, 7_071, True),
    ],
)
def test_the_limits_of_pixels(width: int, height: int, fine: bool) -> None:
    data = png(width, height, zeros(height * ((width + 7) // 8 + 1)))
    if fine:
        assert (check(data).width, check(data).height) == (width, height)
    else:
        assert refusal(data) == "too_many_pixels"


def test_a_webp_of_40_bytes_that_is_huge() -> None:
    """The decoder of WebP takes memory for the canvas before it can be asked for the size."""
    data = bytearray(encoded(Image.new("RGB", (100, 100), RED), "WEBP", lossless=True))
    assert data[12:16] == b"VP8L"
    bits = int.from_bytes(data[21:25], "little")
    assert bits & 0xFFFFFFF == 99 | 99 << 14
    bits ^= (99 | 99 << 14) ^ (16_382 | 16_382 << 14)  # one colour takes no bits, however large
    data[21:25] = bits.to_bytes(4, "little")
    assert len(data) < 50
    assert refusal(bytes(data)) == "too_many_pixels"


def test_a_webp_that_only_says_it_is_huge() -> None:
    data = bytearray(encoded(drawing(mode="RGBA"), "WEBP", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\0\0"))
    assert data[12:16] == b"VP8X"
    data[24:30] = b"\xfe\x3f\x00\xfe\x3f\x00"  # 16,383 by 16,383
    assert refusal(bytes(data)) == "too_many_pixels"


@pytest.mark.parametrize(
    ("kind", "side", "options", "fine"),
    [
        ("WEBP", 4_700, {"method": 0}, True),
        ("WEBP", 4_800, {"method": 0, "lossless": True}, False),
        ("JPEG", 5_900, {"progressive": True, "subsampling": 0}, True),
        ("JPEG", 6_100, {"progressive": True, "subsampling": 0}, False),
        ("JPEG", 7_071, {"progressive": True}, True),
        ("PNG", 7_071, {"transparency": (1, 2, 3), "compress_level": 1}, True),
    ],
)
def test_no_picture_takes_512_mb(kind: str, side: int, options: dict[str, Any], fine: bool) -> None:
    data = encoded(Image.new("RGB", (side, side), RED), kind, **options)
    most = largest_decoder(lambda: check(data) if fine else refusal(data))
    assert most < 512
    assert (most > 150) is fine, "the picture was not even opened"


def largest_decoder(work: Callable[[], object]) -> int:
    """Megabytes of the process in which `work` has a picture decoded, by the kernel's count."""
    check(encoded(drawing(), "PNG"))
    decoder = decoders.idle[-1].process.pid  # the next one to be asked
    peaks = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            for child in children(decoder):
                with suppress(OSError):
                    status = Path(f"/proc/{child}/status").read_text()
                    if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                        peaks.append(int(found[1]) // 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        ended.set()
        watcher.join()
    return max(peaks)


def test_more_pixels_than_announced() -> None:
    """50 by 50 pixels, and then 200 MB that nobody needs to see."""
    assert refusal(png(50, 50, zeros(200_000_000))) == "broken"


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits"), [(0, 1), (0, 4), (0, 16), (2, 8), (4, 8), (6, 16)])
def test_a_png_has_all_its_pixels_and_no_more(colour: int, bits: int, interlaced: bool) -> None:
    """Half a picture is none, and behind the pixels there is room for a whole program.

    240 files: the decoder is asked in this process, where each takes a millisecond.
    """
    answer = runpy.run_path(str(decoders.DECODER))["answer"]
    for width, height in [(1, 1), (2, 3), (9, 5), (16, 17)]:
        size = sum(
            rows * (1 + (columns * {0: 1, 2: 3, 4: 2, 6: 4}[colour] * bits + 7) // 8)
            for columns, rows in passes(width, height, interlaced=interlaced)
            if columns
        )
        head = chunk(
            b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
        )
        for pixels, fine in {
            zlib.compress(bytes(size)): True,
            zlib.compress(bytes(size - 1)): False,
            zlib.compress(bytes(size + 1)): False,
            zlib.compress(bytes(size))[:-1]: False,
            zlib.compress(bytes(size)) + HTML: False,
        }.items():
            data = PNG_START + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
            found, _thumbnail = answer(data, "PNG")
            if fine:
                assert found == {"width": width, "height": height, "parts": [[0, len(data)]]}
            else:
                assert found == {"fault": "broken"}


def passes(width: int, height: int, *, interlaced: bool) -> list[tuple[int, int]]:
    """Columns and rows of each pass, from the list of pixels in the specification."""
    if not interlaced:
        return [(width, height)]
    odd = ("77777777", "56565656", "77777777")
    pattern = ("16462646", *odd, "36463646", *odd)
    places: dict[str, tuple[set[int], set[int]]] = {n: (set(), set()) for n in "1234567"}
    for y in range(height):
        for x in range(width):
            columns, rows = places[pattern[y % 8][x % 8]]
            columns.add(x)
            rows.add(y)
    return [(len(columns), len(rows)) for columns, rows in places.values()]


def test_pixels_in_several_chunks_are_one_stream() -> None:
    packed = zlib.compress(bytes(50 * 8))
    parts = [packed[:3], b"", packed[3:4], packed[4:]]
    head = png(50, 50, b"")[:33]
    data = PNG_START + head[8:] + b"".join(chunk(b"IDAT", p) for p in parts) + chunk(b"IEND", b"")
    assert check(data).data == data


def test_a_png_whose_checksums_are_wrong_is_broken() -> None:
    """Pillow looks at none of its pixels' checksums, browsers do."""
    data = encoded(drawing(), "PNG")
    for at in (29, len(data) - 16):
        assert refusal(data[:at] + bytes(4) + data[at + 4 :]) == "broken"


# Their seconds of compressing are the test's own, not the collection's in every process.
BOMBS: dict[str, Callable[[], bytes]] = {
    "zTXt": lambda: chunk(b"zTXt", b"Comment\0\0" + zeros(500_000_000)),
    "iCCP": lambda: chunk(b"iCCP", b"Profile\0\0" + zeros(500_000_000)),
    "iTXt": lambda: chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(500_000_000)),
    "many": lambda: chunk(b"tEXt", b"a\0b") * 200_000,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_of_text(kind: str) -> None:
    data = png(50, 50, zeros(400), extra=BOMBS[kind]())
    try:
        assert check(data).width == 50
    except BadPicture as error:
        assert error.code == "broken"


def test_a_jpeg_of_nothing_but_marker_bytes_is_read_once() -> None:
    assert refusal(b"\xff\xd8" + b"\xff" * 30_000_000) == "broken"


# The child process


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Puts another program in the decoder's place."""

    def replace(program: str) -> None:
        path = tmp_path / "decoder.py"
        path.write_text(program)
        monkeypatch.setattr(decoders, "DECODER", path)
        decoders.rest()

    yield replace
    decoders.rest()


def real_decoder_but(old: str, new: str) -> str:
    assert old in PROGRAM
    return PROGRAM.replace(old, new)


def decoder_that(does: str) -> str:
    """The real one, which does this when it is about to open a picture."""
    return real_decoder_but(
        "    kind, *limits = words\n", f"    {does}\n    kind, *limits = words\n"
    )


def test_a_picture_that_takes_too_long_to_open(decoder: Callable[[str], None]) -> None:
    """The real decoder with a tenth of its time, and a JPEG whose last scan comes 9,000 times."""
    data = encoded(Image.new("RGB", (3000, 3000), RED), "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xda")
    slow = data[:-2] + data[last_scan:-2] * 9_000 + data[-2:]
    assert len(slow) < 1_000_000
    decoder(real_decoder_but("CPU_SECONDS = 10", "CPU_SECONDS = 1"))
    assert refusal(slow) == "too_costly"
    assert check(data).width == 3000


def test_a_picture_that_wants_too_much_memory(decoder: Callable[[str], None]) -> None:
    decoder(real_decoder_but("MEMORY_BYTES = 700_000_000", "MEMORY_BYTES = 80_000_000"))
    assert refusal(png(7_000, 7_000, zeros(7_000 * 7_001), bits=8)) == "too_costly"
    assert check(encoded(drawing(), "PNG")).width == 120


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE"])
def test_a_picture_that_crashes_the_decoder(decoder: Callable[[str], None], name: str) -> None:
    decoder(decoder_that(f"import signal; os.kill(os.getpid(), signal.{name})"))
    assert refusal(encoded(drawing(), "PNG")) == "broken"
    assert decoders.idle == [], "the next one is not where this one may have learnt addresses"


@pytest.mark.parametrize(
    "does", ["import signal; os.kill(os.getpid(), signal.SIGKILL)", "import time; time.sleep(60)"]
)
@pytest.mark.parametrize("is_child", [True, False])
def test_a_decoder_that_fails_by_itself_is_not_the_pictures_fault(
    monkeypatch: pytest.MonkeyPatch, decoder: Callable[[str], None], does: str, is_child: bool
) -> None:
    monkeypatch.setattr(decoders, "WALL_SECONDS", 1)
    decoder(decoder_that(does) if is_child else f"import os; {does}")
    with pytest.raises(DecoderDown):
        check(encoded(drawing(), "PNG"))


def test_a_decoder_that_does_not_start(decoder: Callable[[str], None]) -> None:
    decoder("import a_module_that_is_missing")
    with pytest.raises(DecoderDown):
        check(encoded(drawing(), "PNG"))


@pytest.mark.parametrize("size", [(60, 60), (900, 900)])
def test_a_full_disk_is_not_the_pictures_fault(size: tuple[int, int]) -> None:
    """Small pictures are written when the file is closed, larger ones before."""
    data = encoded(Image.effect_noise(size, 90), "PNG")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DecoderDown, match="File too large"):
            check(data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_decoder_that_is_killed_takes_its_child_along(
    decoder: Callable[[str], None], tmp_path: Path
) -> None:
    told = tmp_path / "child"
    decoder(
        decoder_that(
            f"open({str(told)!r}, 'w').write(str(os.getpid())); import signal, time;"
            " os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
        )
    )
    with pytest.raises(DecoderDown):
        check(encoded(drawing(), "PNG"))
    child = Path(f"/proc/{told.read_text()}/stat")
    until = time.monotonic() + 10
    while child.exists() and ") Z " not in child.read_text() and time.monotonic() < until:
        time.sleep(0.01)
    assert not child.exists() or ") Z " in child.read_text()


def test_a_machine_that_cannot_start_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    decoders.rest()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DecoderDown):
        check(encoded(drawing(), "PNG"))


def test_the_decoder_cannot_fill_our_memory_and_knows_no_secrets(
    monkeypatch: pytest.MonkeyPatch, decoder: Callable[[str], None]
) -> None:
    """A taken-over decoder answers for ever, or with the keys that its parent has."""
    decoder(decoder_that("while True: os.write(into, bytes(1_000_000))"))
    with pytest.raises(DecoderDown, match="ended with 1"):
        check(encoded(drawing(), "PNG"))
    monkeypatch.setenv("KIE_API_KEY", "a secret")
    decoder(answering("len([k for k in os.environ if k != 'LC_CTYPE'])"))
    assert check(encoded(drawing(), "PNG")).width == 0


def answering(width: str) -> str:
    """A decoder that finds every picture as wide as this expression says."""
    answer = f"json.dumps({{'width': {width}, 'height': 0, 'parts': []}})"
    return decoder_that(f"os.write(into, {answer}.encode()); return")


def test_a_picture_meets_no_other(decoder: Callable[[str], None]) -> None:
    """A decoder that stays; but for each picture a process that has just been born."""
    decoder(answering("os.getpid()"))
    parents = [(check(encoded(drawing(), "PNG")).width, decoders.idle[0].process.pid) for _ in "12"]
    (first, parent), (second, the_same) = parents
    assert first != second
    assert parent == the_same
    assert parent not in (first, second)


def test_a_decoder_that_is_gone_is_replaced() -> None:
    check(encoded(drawing(), "PNG"))
    (decoder,) = decoders.idle
    decoder.process.kill()
    decoder.process.wait()
    assert check(encoded(drawing(), "PNG")).width == 120
    assert len(decoders.idle) == 1


def test_several_at_once_have_each_their_own(decoder: Callable[[str], None]) -> None:
    """And not all of them stay."""
    decoder(decoder_that("import time; time.sleep(1)"))
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(check, [encoded(drawing(), "PNG")] * 3))
    assert [picture.width for picture in found] == [120] * 3
    assert len(decoders.idle) == decoders.MOST_IDLE


def test_a_fork_leaves_its_parents_decoders_alone() -> None:
    check(encoded(drawing(), "PNG"))
    before = decoders.idle[0].process.pid
    child = os.fork()
    if not child:
        os._exit(len(decoders.idle))
    assert os.waitpid(child, 0)[1] == 0
    check(encoded(drawing(), "PNG"))
    assert decoders.idle[0].process.pid == before


def test_the_decoder_needs_nothing_of_ours() -> None:
    """It starts fast because it imports neither Django nor us."""
    program = (
        f"import runpy, sys; runpy.run_path({str(decoders.DECODER)!r});"
        "print([m for m in sys.modules if m.split('.')[0] in ('django', 'projects', 'boto3')])"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, env={}
    )
    assert ended.stdout.strip() == "[]"


def test_no_process_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, decoder: Callable[[str], None]
) -> None:
    """But the one that waits for the next picture. Not even one that has to be stopped."""
    decoders.rest()
    before = children()
    check(encoded(drawing(), "PNG"))
    refusal(encoded(drawing(), "PNG")[:-20])
    (kept,) = children() - before
    assert int(kept) == decoders.idle[0].process.pid
    monkeypatch.setattr(decoders, "WALL_SECONDS", 1)
    decoder(decoder_that("import time; time.sleep(60)"))
    with pytest.raises(DecoderDown):
        check(encoded(drawing(), "PNG"))
    assert children() == before


def test_it_ends_with_whoever_started_it() -> None:
    """Even if that was killed."""
    program = (
        "import os, signal; from projects import decoders\n"
        "decoder = decoders.Decoder(); print(decoder.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    decoder = Path(f"/proc/{int(ended.stdout)}")
    until = time.monotonic() + 10
    while decoder.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not decoder.exists()


def children(parent: int | str = "self") -> set[str]:
    """The processes, zombies too, that it has started and not buried."""
    of_threads = Path(f"/proc/{parent}/task").glob("*/children")
    return {child for path in of_threads for child in path.read_text().split()}
