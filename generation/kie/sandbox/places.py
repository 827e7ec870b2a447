"""What a sample picture shows: the place that its prompt names, built up from far to near."""

from __future__ import annotations

import random
import re

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from generation.kie.sandbox.light import (
    LIGHTS,
    NIGHTS,
    Colour,
    Light,
    Point,
    disc,
    glow,
    mix,
    paint,
    sky,
)


def place_for(rng: random.Random, prompt: str, size: tuple[int, int]) -> Image.Image:
    """The place that the prompt names, or one by chance."""
    words = prompt.lower()
    hours = NIGHTS if _find(NIGHT, words) else LIGHTS + NIGHTS[:1]
    light = rng.choice(LIGHTS if _find(DAY, words) else hours)
    named = [
        (found.start(), i) for i, (_, stems) in enumerate(PLACES) if (found := _find(stems, words))
    ]
    if named:
        place = PLACES[min(named)[1]][0]
    else:
        place = _portrait if _find(PEOPLE, words) else rng.choice([p for p, _ in PLACES[1:]])
    return place(rng, light, size)


def _find(stems: str, words: str) -> re.Match[str] | None:
    return re.search(rf"\b(?:{stems})", words)


def _dunes(rng: random.Random, light: Light, size: tuple[int, int]) -> Image.Image:
    picture = sky(rng, light, size, horizon=0.62)
    for depth in (0.25, 0.5, 0.8):
        ridge = _ridge(rng, size, 0.5 + 0.36 * depth, 0.07 + 0.07 * depth, roughness=0.36)
        _fill(picture, ridge, light, depth, lit=True)
    if rng.random() < 0.8:
        _walker(picture, rng, light)
    return picture


def _mountains(rng: random.Random, light: Light, size: tuple[int, int]) -> Image.Image:
    picture = sky(rng, light, size, horizon=0.66)
    for depth in (0.12, 0.32, 0.55, 0.8, 1.0):
        level = 0.42 + 0.42 * depth
        ridge = _ridge(rng, size, level, 0.16 - 0.07 * depth, roughness=0.56)
        _fill(picture, ridge, light, depth, lit=depth < 0.9)
    return picture


def _sea(rng: random.Random, light: Light, size: tuple[int, int]) -> Image.Image:
    width, height = size
    horizon = rng.uniform(0.52, 0.62)
    picture = sky(rng, light, size, horizon=horizon)
    top = round(height * horizon)
    water = picture.crop((0, max(0, 2 * top - height), width, top)).transpose(
        Image.Transpose.FLIP_TOP_BOTTOM
    )
    water = water.resize((max(1, width // 24), water.height)).resize((width, height - top))
    water = water.filter(ImageFilter.GaussianBlur(height / 90))
    water = Image.blend(water, Image.new("RGB", water.size, light.near), 0.42)
    picture.paste(_waves(rng, water, light), (0, top))
    if rng.random() < 0.7:
        side = _ridge(rng, size, horizon - 0.01, 0.07, roughness=0.5, islands=True)
        _fill(picture, side, light, 0.35, lit=False, floor=top + 2)
    if rng.random() < 0.6:
        _boat(picture, rng, light, top)
    return picture


def _city(rng: random.Random, light: Light, size: tuple[int, int]) -> Image.Image:
    picture = sky(rng, light, size, horizon=0.74)
    for depth, tall in ((0.2, 0.34), (0.5, 0.3), (0.9, 0.24)):
        _towers(picture, rng, light, depth, tall)
    return picture


def _forest(rng: random.Random, light: Light, size: tuple[int, int]) -> Image.Image:
    picture = sky(rng, light, size, horizon=0.7)
    for depth in (0.15, 0.4, 0.7, 1.0):
        _firs(picture, rng, light, depth)
    return picture


def _portrait(rng: random.Random, light: Light, size: tuple[int, int]) -> Image.Image:
    """Somebody against the light: what a prompt for a character gets."""
    picture = sky(rng, light, size, horizon=0.95, sun=False)
    picture = picture.filter(ImageFilter.GaussianBlur(max(size) / 60))
    _bokeh(picture, rng, light)
    _bust(picture, rng, light)
    return picture


DAY = "sun|dawn|dusk|day|morning|evening|noon|slnk|slne|západ|svit|úsvit|ráno|večer|deň|dňa|poludn"
NIGHT = "night|midnight|moon|noc|v noci|polnoc|mesiac|mesač|tma|tme"
PEOPLE = "woman|man|girl|boy|face|years old|žena|žen[ay]|muž|dievča|chlap|tvár|postav|rok(?:ov|y)"
PLACES = (
    (_portrait, "portrait|character|close-up|close up|portrét|detail tvár"),
    (_city, "city|street|town|roof|neon|skyline|mest|ulic|strech|paneláci|sídlisk|námest"),
    (_sea, "sea|ocean|lake|river|beach|harbo|boat|water|mor[ea]|jazer|riek|pláž|prístav|loď|vod"),
    (_forest, "forest|wood|tree|pine|jungle|les|strom|borovic|džung"),
    (_dunes, "desert|dune|sand|púšť|púšt|dun[ayeu]|piesk|piesok"),
    (_mountains, "mountain|hill|peak|valley|landscape|hory|hôr|horách|kopc|vrch|údol|dolin|krajin"),
)


def _ridge(
    rng: random.Random,
    size: tuple[int, int],
    level: float,
    swing: float,
    roughness: float,
    islands: bool = False,
) -> list[Point]:
    """A skyline by halving: points from left to right around `level` of the height."""
    heights = [rng.uniform(-1, 1), rng.uniform(-1, 1)]
    step = 1.0
    while len(heights) < 257:
        step *= roughness
        between = [
            (a + b) / 2 + rng.uniform(-step, step)
            for a, b in zip(heights, heights[1:], strict=False)
        ]
        heights = [h for pair in zip(heights, between, strict=False) for h in pair] + heights[-1:]
    if roughness < 0.4:
        heights = _smoothed(heights)
    width, height = size
    last = len(heights) - 1
    return [
        (width * i / last, height * (level - swing * (h - 0.35 if islands else h)))
        for i, h in enumerate(heights)
    ]


def _smoothed(values: list[float]) -> list[float]:
    span = 9
    return [
        sum(values[max(0, i - span) : i + span + 1]) / len(values[max(0, i - span) : i + span + 1])
        for i in range(len(values))
    ]


def _fill(
    picture: Image.Image,
    ridge: list[Point],
    light: Light,
    depth: float,
    lit: bool,
    floor: float | None = None,
) -> None:
    """Paints the ground under a ridge: hazy when far (0), dark when near (1)."""
    width, height = picture.size
    mask = _under(ridge, picture.size, height if floor is None else floor)
    colour = mix(mix(light.horizon, light.far, 0.45), light.near, depth**0.8)
    if not lit:
        paint(picture, colour, mask)
        return
    top = round(min(y for _, y in ridge))
    ground = _ground(light, colour, depth, (width, max(1, height - top)))
    picture.paste(ground, (0, top), mask.crop((0, top, width, top + ground.height)))


def _under(ridge: list[Point], size: tuple[int, int], floor: float) -> Image.Image:
    """White between a ridge and the floor."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([(0, floor), *ridge, (size[0], floor)], fill=255)
    mask.paste(0, (0, round(floor), size[0], max(size[1], round(floor))))
    return mask.filter(ImageFilter.BoxBlur(1))


def _ground(light: Light, colour: Colour, depth: float, size: tuple[int, int]) -> Image.Image:
    """Ground that is lit along its edge and sinks into haze below: what gives the layers air."""
    lit = mix(colour, light.sun, 0.16 * (1 - depth))
    haze = mix(colour, light.horizon, 0.34 * (1 - depth))
    strip = Image.new("RGB", (1, 3))
    for y, shade in enumerate((lit, colour, haze)):
        strip.putpixel((0, y), shade)
    return strip.resize(size, Image.Resampling.BICUBIC)


def _waves(rng: random.Random, water: Image.Image, light: Light) -> Image.Image:
    """Glints that grow towards the viewer."""
    pen = ImageDraw.Draw(water)
    width, height = water.size
    centre = width * rng.uniform(0.3, 0.7)
    for _ in range(420):
        depth = rng.random() ** 1.6
        y = depth * height
        x = rng.gauss(centre, width * (0.05 + 0.2 * depth))
        half = width * (0.004 + 0.028 * depth) * rng.random()
        under = water.getpixel((min(width - 1, max(0, int(x))), min(height - 1, int(y))))
        colour = mix(under, light.sun, rng.uniform(0.12, 0.5))  # type: ignore[arg-type]
        pen.line(
            (x - half, y, x + half, y),
            fill=colour,
            width=max(1, round(height / 300 * (0.5 + depth))),
        )
    return water.filter(ImageFilter.BoxBlur(1))


def _boat(picture: Image.Image, rng: random.Random, light: Light, horizon: int) -> None:
    width, height = picture.size
    x, y, s = (
        width * rng.uniform(0.2, 0.8),
        horizon + height * rng.uniform(0.03, 0.1),
        height * 0.02,
    )
    pen = ImageDraw.Draw(picture)
    pen.polygon(
        [(x - 2 * s, y - s * 0.5), (x + 2 * s, y - s * 0.5), (x + 1.4 * s, y), (x - 1.5 * s, y)],
        fill=light.near,
    )
    pen.line((x, y - s * 0.5, x, y - s * 4), fill=light.near, width=max(1, round(s / 7)))
    pen.polygon(
        [(x + s * 0.12, y - s * 3.9), (x + s * 1.7, y - s), (x + s * 0.12, y - s)],
        fill=mix(light.near, light.horizon, 0.35),
    )


def _walker(picture: Image.Image, rng: random.Random, light: Light) -> None:
    """A small figure with a long shadow."""
    width, height = picture.size
    x, y, s = width * rng.uniform(0.25, 0.75), height * rng.uniform(0.76, 0.84), height * 0.028
    dark = mix(light.near, (0, 0, 0), 0.3)
    shadow = Image.new("L", picture.size)
    ImageDraw.Draw(shadow).polygon(
        [
            (x - s * 0.2, y),
            (x + s * 0.2, y),
            (x + s * 2.6, y + s * 2.2),
            (x + s * 1.9, y + s * 2.2),
        ],
        fill=120,
    )
    paint(picture, dark, shadow.filter(ImageFilter.GaussianBlur(s / 10)))
    pen = ImageDraw.Draw(picture)
    pen.polygon(
        [
            (x - s * 0.26, y),
            (x - s * 0.3, y - s * 1.25),
            (x, y - s * 1.5),
            (x + s * 0.3, y - s * 1.25),
            (x + s * 0.24, y),
        ],
        fill=dark,
    )
    pen.ellipse((x - s * 0.2, y - s * 1.86, x + s * 0.2, y - s * 1.42), fill=dark)


def _towers(
    picture: Image.Image, rng: random.Random, light: Light, depth: float, tall: float
) -> None:
    """One row of houses; some windows are lit, more of them near and at night."""
    width, height = picture.size
    unit = max(width, height) / 64
    colour = mix(mix(light.horizon, light.far, 0.5), light.near, depth**0.7)
    warm = mix(colour, (255, 206, 130), 0.35 + 0.45 * depth)
    pen = ImageDraw.Draw(picture)
    x = -unit * rng.random()
    while x < width:
        wide = unit * rng.uniform(1.4, 4.2) * (0.7 + depth * 0.6)
        top = height * (0.78 - tall * rng.random() ** 1.5 - 0.06 * (1 - depth) + 0.05 * depth)
        pen.rectangle((x, top, x + wide, height), fill=colour)
        if rng.random() < 0.25:
            pen.line(
                (x + wide / 2, top, x + wide / 2, top - unit * rng.uniform(0.8, 2.2)),
                fill=colour,
                width=max(1, round(unit / 10)),
            )
        _windows(
            pen,
            rng,
            (x, top, x + wide, height),
            unit * (0.28 + 0.2 * depth),
            warm,
            0.34 if light.night else 0.13,
        )
        x += wide + (unit * rng.random() * 0.6 if rng.random() < 0.3 else 0)


def _windows(
    pen: ImageDraw.ImageDraw,
    rng: random.Random,
    house: tuple[float, float, float, float],
    step: float,
    colour: Colour,
    share: float,
) -> None:
    left, top, right, bottom = house
    y = top + step
    while y < bottom:
        x = left + step * 0.8
        while x < right - step * 0.9:
            if rng.random() < share:
                pen.rectangle((x, y, x + step * 0.42, y + step * 0.55), fill=colour)
            x += step
        y += step * 1.3


def _firs(picture: Image.Image, rng: random.Random, light: Light, depth: float) -> None:
    """One row of firs, then the mist in front of it."""
    width, height = picture.size
    colour = mix(mix(light.horizon, light.far, 0.55), light.near, depth**0.75)
    mask = Image.new("L", picture.size)
    pen = ImageDraw.Draw(mask)
    tall = height * (0.2 + 0.34 * depth)
    base = height * (0.72 + 0.3 * depth)
    x = -tall * 0.2
    while x < width + tall * 0.2:
        _fir(pen, rng, (x, base + rng.uniform(-0.02, 0.03) * height), tall * rng.uniform(0.62, 1.1))
        x += tall * rng.uniform(0.1, 0.34) * (1 + 1.4 * depth)
    pen.rectangle((0, min(base, height), width, height), fill=255)
    paint(picture, colour, mask.filter(ImageFilter.BoxBlur(1)))
    if depth < 1:
        _mist(picture, light, base, tall * 0.7)


def _fir(pen: ImageDraw.ImageDraw, rng: random.Random, foot: Point, tall: float) -> None:
    x, y = foot
    left, right = [], []
    for i in range(10):
        at = y - tall * (1 - i / 10)
        half = tall * (0.018 + 0.15 * (i / 10) ** 0.9)
        left += [(x - half * 0.42, at), (x - half * rng.uniform(0.85, 1.2), at + tall * 0.085)]
        right += [(x + half * 0.42, at), (x + half * rng.uniform(0.85, 1.2), at + tall * 0.085)]
    pen.polygon([(x, y - tall * 1.06), *right, *reversed(left)], fill=255)
    pen.rectangle((x - tall * 0.014, y - tall * 0.05, x + tall * 0.014, y + tall * 0.2), fill=255)


def _mist(picture: Image.Image, light: Light, base: float, tall: float) -> None:
    width, height = picture.size
    band = Image.linear_gradient("L").resize((width, max(1, round(tall))))
    band = band.point([round(v * 0.62) for v in range(256)])
    mask = Image.new("L", picture.size)
    mask.paste(band, (0, round(base - tall)))
    mask.paste(158, (0, round(base), width, height))
    paint(picture, mix(light.horizon, light.middle, 0.35), mask)


def _bokeh(picture: Image.Image, rng: random.Random, light: Light) -> None:
    """Lights far behind, out of focus."""
    width, height = picture.size
    for _ in range(16):
        spot = (rng.uniform(0, width), rng.uniform(0.05, 0.75) * height)
        radius = min(width, height) * rng.uniform(0.02, 0.075)
        colour = mix(light.sun, light.horizon, rng.random())
        disc(picture, spot, radius, colour, rng.randint(24, 90))


def _bust(picture: Image.Image, rng: random.Random, light: Light) -> None:
    """Head and shoulders with a rim of light from one side."""
    width, height = picture.size
    s = min(width, height * 0.8)
    x, chin = width * rng.uniform(0.42, 0.58), height * 0.54
    side = rng.choice((-1, 1)) * s
    mask = _bust_mask(picture.size, rng, x, chin, s)
    glow(picture, (x - side * 0.28, chin - s * 0.16), s * 0.6, light.sun, 0.5)
    paint(picture, mix(light.sun, light.horizon, 0.4), mask)
    inner = ImageChops.multiply(
        mask, ImageChops.offset(mask, round(side * 0.016), round(s * 0.008))
    )
    body = mix(light.near, light.far, 0.16)
    paint(picture, body, inner.filter(ImageFilter.GaussianBlur(s / 140)))


def _bust_mask(
    size: tuple[int, int], rng: random.Random, x: float, chin: float, s: float
) -> Image.Image:
    """Plain shapes, blurred and cut at half: they flow into one outline."""
    mask = Image.new("L", (size[0] // 4, size[1] // 4))
    pen = ImageDraw.Draw(mask)
    x, chin, s = x / 4, chin / 4, s / 4
    head, tall, hair = s * 0.112, s * 0.155, s * rng.uniform(0.0, 0.03)
    pen.ellipse((x - head, chin - 2 * tall, x + head, chin), fill=255)
    low = chin - tall * rng.uniform(-0.5, 0.8)
    pen.ellipse((x - head - hair, chin - 2 * tall - hair, x + head + hair, low), fill=255)
    pen.rectangle((x - head * 0.62, chin - tall * 0.6, x + head * 0.62, chin + tall), fill=255)
    wide, top = s * rng.uniform(0.31, 0.37), chin + tall * 0.42
    pen.polygon(
        [
            (x, top - tall * 0.3),
            (x + wide * 0.72, top + tall * 0.34),
            (x + wide, top + tall * 0.8),
            (x + wide * 1.08, size[1]),
            (x - wide * 1.08, size[1]),
            (x - wide, top + tall * 0.8),
            (x - wide * 0.72, top + tall * 0.34),
        ],
        fill=255,
    )
    soft = mask.filter(ImageFilter.GaussianBlur(s / 26)).resize(size, Image.Resampling.BICUBIC)
    return soft.point([max(0, min(255, (v - 112) * 8)) for v in range(256)])
