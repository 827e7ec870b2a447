"""Sample pictures that look like film stills: a place, its light, haze, grain, and the prompt.

A picture is a pure function of its arguments, so nothing drawn has to be kept: the same task
gives the same bytes again after a restart. Large ones are drawn at 2048 pixels and scaled up.
"""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from generation.kie.sandbox.light import noise
from generation.kie.sandbox.places import place_for

FONT = Path(__file__).with_name("Inter-SemiBold.otf")
GRAIN = 0.11  # of full contrast
CANVAS = 2048  # the longest edge that is drawn; what is larger is scaled up at the end


def draw(seed: str, prompt: str, label: str, size: tuple[int, int], file_format: str) -> bytes:
    """One picture of exactly `size` pixels as a "png", "jpeg" or "webp" file.

    The seed and the prompt's words decide what is seen; `label` is written in the corner.
    """
    rng = random.Random(seed)  # noqa: S311
    scale = min(1.0, CANVAS / max(size))
    canvas = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    picture = _finish(place_for(rng, prompt, canvas), rng)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    _write(picture, prompt, label)
    return _encode(picture, file_format)


def size_of(data: bytes | None) -> tuple[int, int] | None:
    """Of a picture's file; None for what is none."""
    try:
        with Image.open(io.BytesIO(data or b"")) as picture:
            return picture.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def rework(
    source: bytes, work: str, prompt: str, label: str, size: tuple[int, int], file_format: str
) -> bytes:
    """What a model that does `work` (schema.WORKS) makes of a picture, roughly: enlarged, on a
    larger canvas, with its middle cut out, or in other colours."""
    with Image.open(io.BytesIO(source)) as opened:
        picture = opened.convert("RGB")
    if work == "reframe":
        blurred = ImageOps.fit(picture, size).filter(ImageFilter.GaussianBlur(max(size) / 40))
        picture = ImageOps.contain(picture, size)
        left, top = ((size[i] - picture.size[i]) // 2 for i in (0, 1))
        blurred.paste(picture, (left, top))
        picture = blurred
    else:
        picture = ImageOps.fit(picture, size, Image.Resampling.BICUBIC)
    if work == "edit":
        rng = random.Random(prompt)  # noqa: S311
        light = Image.new("RGB", size, tuple(rng.randrange(90, 256) for _ in range(3)))
        picture = ImageChops.soft_light(picture, light)
    _write(picture, prompt, label)
    if work == "background-removal":
        around = Image.radial_gradient("L").point([min(255, 3 * (255 - v)) for v in range(256)])
        picture.putalpha(around.resize(size, Image.Resampling.BILINEAR))
        return _encode(picture, "png")
    return _encode(picture, file_format)


def _encode(picture: Image.Image, file_format: str) -> bytes:
    out = io.BytesIO()
    if file_format == "png":
        picture.save(out, "PNG", compress_level=1)
    elif file_format == "webp":
        picture.save(out, "WEBP", quality=80, method=0)
    else:
        picture.save(out, "JPEG", quality=88)
    return out.getvalue()


def _finish(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Vignette, then grain."""
    width, height = picture.size
    shade = Image.radial_gradient("L").point([round(150 * (v / 255) ** 2.6) for v in range(256)])
    shade = shade.resize((width, height), Image.Resampling.BILINEAR)
    picture.paste((4, 4, 8), (0, 0, width, height), shade)
    return ImageChops.soft_light(picture, _grain(rng, picture.size))


def _grain(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    tile = noise(rng, (256, 256)).point([round(128 + (v - 128) * GRAIN) for v in range(256)])
    tile = tile.resize((512, 512), Image.Resampling.BICUBIC)
    sheet = Image.new("L", size)
    for y in range(0, size[1], 512):
        for x in range(0, size[0], 512):
            sheet.paste(tile, (x, y))
    return Image.merge("RGB", (sheet, sheet, sheet))


def _write(picture: Image.Image, prompt: str, label: str) -> None:
    """SAMPLE and the label on top, the prompt on a dark plate at the bottom."""
    width, height = picture.size
    unit = max(width * 0.55, min(width, height)) / 100
    pad = unit * 3.2
    _sample(picture, label, unit, pad)
    font = _font(max(8, round(unit * 3.0)))
    lines = _lines(prompt, font, width - 2 * pad, most=4)
    if not lines:
        return
    step = unit * 4.1
    plate = round(step * len(lines) + pad * 2.4)
    dark = (
        Image.linear_gradient("L")
        .resize((width, plate))
        .point([min(205, round(v * 1.25)) for v in range(256)])
    )
    picture.paste((6, 6, 9), (0, height - plate, width, height), dark)
    pen = ImageDraw.Draw(picture)
    for i, line in enumerate(lines):
        pen.text((pad, height - pad - step * (len(lines) - i - 0.2)), line, (246, 244, 238), font)


def _sample(picture: Image.Image, label: str, unit: float, pad: float) -> None:
    """In the middle of the top: a board writes its numbers and counts into the corners."""
    pen = ImageDraw.Draw(picture)
    font, small = _font(max(9, round(unit * 4.6))), _font(max(8, round(unit * 2.3)))
    middle, gap = picture.width / 2, unit * 1.5
    left, top, right, bottom = pen.textbbox((middle, pad + gap), "SAMPLE", font, anchor="mt")
    box = (left - gap, top - gap, right + gap, bottom + gap)
    pen.rounded_rectangle(box, radius=unit * 0.9, fill=(246, 244, 238))
    pen.text((middle, pad + gap), "SAMPLE", (20, 18, 22), font, anchor="mt")
    pen.text(
        (middle, box[3] + gap),
        _shortened(label, small, picture.width - 2 * pad),
        (246, 244, 238),
        small,
        anchor="mt",
        stroke_width=max(1, round(unit / 5)),
        stroke_fill=(0, 0, 0),
    )


def _lines(text: str, font: ImageFont.FreeTypeFont, room: float, most: int) -> list[str]:
    """The text broken into lines of `room` pixels; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        elif len(lines) == most:
            lines[-1] = _shortened(lines[-1] + " " + word, font, room)
            break
        else:
            lines.append(_shortened(word, font, room))
    return lines


def _shortened(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""


@cache
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, pixels)
