"""The colours of an hour, and light on a picture: sky, sun, clouds, glow."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Light:
    """The colours of one hour: sky from top to horizon, the sun or moon, far and near ground."""

    top: Colour
    middle: Colour
    horizon: Colour
    sun: Colour
    far: Colour
    near: Colour
    night: bool = False


LIGHTS = (
    # golden hour, ember, dust
    Light(
        (38, 58, 92), (196, 122, 84), (255, 204, 128), (255, 238, 196), (170, 104, 86), (24, 16, 22)
    ),
    Light((30, 18, 44), (150, 48, 62), (255, 140, 74), (255, 214, 150), (122, 52, 62), (14, 8, 14)),
    Light(
        (116, 104, 92),
        (204, 170, 126),
        (244, 222, 176),
        (255, 248, 224),
        (176, 142, 108),
        (46, 34, 28),
    ),
    # blue hour, teal, overcast, pink dawn
    Light(
        (10, 22, 52), (40, 78, 126), (232, 158, 132), (255, 214, 184), (44, 66, 104), (6, 10, 20)
    ),
    Light(
        (8, 44, 54), (58, 122, 122), (236, 206, 150), (255, 240, 206), (48, 96, 100), (6, 18, 22)
    ),
    Light(
        (92, 104, 116),
        (150, 160, 166),
        (214, 216, 210),
        (240, 240, 232),
        (124, 134, 140),
        (26, 30, 34),
    ),
    Light(
        (70, 82, 136),
        (204, 142, 168),
        (255, 212, 196),
        (255, 240, 226),
        (134, 106, 148),
        (26, 20, 40),
    ),
)
NIGHTS = (
    Light((4, 8, 20), (14, 28, 56), (46, 72, 108), (232, 238, 248), (22, 38, 66), (3, 5, 10), True),
    Light((8, 6, 20), (36, 22, 60), (112, 58, 96), (250, 226, 214), (48, 30, 70), (5, 4, 12), True),
)


def sky(
    rng: random.Random, light: Light, size: tuple[int, int], horizon: float, sun: bool = True
) -> Image.Image:
    width, height = size
    strip = Image.new("RGB", (1, 64))
    for y in range(64):
        strip.putpixel((0, y), _sky_colour(light, min(1.0, y / 63 / horizon)))
    picture = strip.resize(size, Image.Resampling.BICUBIC)
    if light.night:
        _stars(picture, rng, horizon)
    if sun:
        _sun(picture, rng, light, horizon)
    _clouds(picture, rng, light)
    return picture


def _sky_colour(light: Light, t: float) -> Colour:
    if t < 0.55:
        return mix(light.top, light.middle, t / 0.55)
    return mix(light.middle, light.horizon, (t - 0.55) / 0.45)


def _sun(picture: Image.Image, rng: random.Random, light: Light, horizon: float) -> None:
    width, height = picture.size
    edge = min(width, height)
    x = width * rng.uniform(0.22, 0.78)
    y = height * horizon * (rng.uniform(0.25, 0.5) if light.night else rng.uniform(0.55, 0.9))
    glow(picture, (x, y), edge * (0.5 if light.night else 0.95), light.sun, 0.55)
    radius = edge * rng.uniform(0.035, 0.075)
    disc(picture, (x, y), radius, light.sun, 245)


def _stars(picture: Image.Image, rng: random.Random, horizon: float) -> None:
    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    for _ in range(180):
        x, y = rng.uniform(0, width), rng.uniform(0, height * horizon * 0.85) * rng.random()
        r = max(width, height) / 2048 * rng.choice((0.7, 0.9, 1.4))
        shade = rng.randint(110, 235)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(shade, shade, min(255, shade + 15)))


def _clouds(picture: Image.Image, rng: random.Random, light: Light) -> None:
    """Streaks of two layers of smoothed noise, thinner towards the horizon."""
    small = (max(2, picture.width // 6), max(2, picture.height // 6))
    broad = noise(rng, (6, 14)).resize(small, Image.Resampling.BICUBIC)
    fine = noise(rng, (18, 64)).resize(small, Image.Resampling.BICUBIC)
    cut = rng.randint(112, 150)
    mask = Image.blend(broad, fine, 0.34)
    mask = mask.point([max(0, min(140, round((v - cut) * 2.1))) for v in range(256)])
    fade = Image.linear_gradient("L").transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize(small)
    mask = ImageChops.multiply(mask, fade.point([min(255, round(v * 1.3)) for v in range(256)]))
    colour = light.horizon if light.night else mix(light.horizon, light.sun, 0.2)
    paint(picture, colour, mask.resize(picture.size, Image.Resampling.BICUBIC))


def glow(
    picture: Image.Image, centre: Point, radius: float, colour: Colour, strength: float
) -> None:
    """Adds light that falls off around a point."""
    side = max(2, round(radius * 2))
    ball = _ball().resize((side, side), Image.Resampling.BILINEAR)
    ball = ball.point([round(v * strength) for v in range(256)])
    box = (round(centre[0] - radius), round(centre[1] - radius))
    picture.paste(colour, (*box, box[0] + side, box[1] + side), ball)


@cache
def _ball() -> Image.Image:
    """A soft white ball of 256 pixels on black, falling off as light does."""
    radial = Image.radial_gradient("L")  # 0 in the middle, 255 at the edge
    return radial.point([round(255 * max(0.0, 1 - v / 181) ** 2.4) for v in range(256)])


def disc(picture: Image.Image, centre: Point, radius: float, colour: Colour, strength: int) -> None:
    """A round spot with a soft edge."""
    edge = max(1.0, radius / 14)
    half = round(radius + 3 * edge)
    mask = Image.new("L", (2 * half, 2 * half))
    ImageDraw.Draw(mask).ellipse(
        (half - radius, half - radius, half + radius, half + radius), fill=strength
    )
    left, top = round(centre[0]) - half, round(centre[1]) - half
    mask = mask.filter(ImageFilter.GaussianBlur(edge))
    picture.paste(colour, (left, top, left + 2 * half, top + 2 * half), mask)


def mix(a: Colour, b: Colour, t: float) -> Colour:
    return (
        round(a[0] + (b[0] - a[0]) * t),
        round(a[1] + (b[1] - a[1]) * t),
        round(a[2] + (b[2] - a[2]) * t),
    )


def paint(picture: Image.Image, colour: Colour, mask: Image.Image) -> None:
    picture.paste(colour, (0, 0, *picture.size), mask)


def noise(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Grey noise from our own seed (Pillow's effect_noise cannot be seeded)."""
    return Image.frombytes("L", size, rng.randbytes(size[0] * size[1]))
