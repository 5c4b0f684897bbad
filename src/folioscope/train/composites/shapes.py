"""Made-up objects: silhouettes of seeds, filled with colours, gradients, patterns or what a picture shows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from folioscope.train import fonts
from folioscope.train.composites.backdrops import backdrop
from folioscope.train.fonts import Split

_FINE = 2
"""Silhouettes are drawn this many times larger, then scaled down: smooth edges."""

Points = list[tuple[float, float]]


def shape(rng: np.random.Generator, side: int, split: Split) -> Image.Image:
    """An RGBA object in a square of `side` pixels: a silhouette, its filling, maybe an outline and parts in it."""
    outline = _SILHOUETTES[rng.integers(len(_SILHOUETTES))](rng, side * _FINE)
    return _filled(outline, rng, side, split)


def letter(rng: np.random.Generator, side: int, split: Split) -> Image.Image:
    """A letter or digit in a bold size, RGBA, in a square of `side` pixels."""
    groups = fonts.designs(split)
    faces = groups[rng.integers(len(groups))]
    face = fonts.typeface(faces[rng.integers(len(faces))], int(side * _FINE * 0.8))
    outline = Image.new("L", (side * _FINE, side * _FINE))
    middle = side * _FINE / 2
    character = chr(rng.choice(np.frombuffer(b"ABCDEFGHKLMNOPQRSTUXZ0234568&@?abdeghkmnopqsuz", np.uint8)))
    ImageDraw.Draw(outline).text(
        (middle, middle), character, 255, face.font, anchor="mm", stroke_width=int(side * rng.uniform(0, 0.08))
    )
    return _filled(outline, rng, side, split)


def _filled(outline: Image.Image, rng: np.random.Generator, side: int, split: Split) -> Image.Image:
    small = outline.resize((side, side), Image.Resampling.BOX)
    filling = _FILLINGS[rng.integers(len(_FILLINGS))](rng, side, split).convert("RGBA")
    if rng.random() < 0.3:
        _add_parts(filling, rng)
    if rng.random() < 0.35:
        width = 2 * int(rng.integers(1, max(2, side // 24))) + 1
        inner = small.filter(ImageFilter.MinFilter(min(width, 9)))
        filling = Image.composite(filling, Image.new("RGBA", filling.size, (*colour(rng), 255)), inner)
    filling.putalpha(small)
    return filling


def colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Any colour."""
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _ring(points: int, radius: Callable[[np.ndarray], np.ndarray], side: int, stretch: float) -> Points:
    angles = np.linspace(0, 2 * math.pi, points, endpoint=False)
    far = radius(angles) * side / 2
    x, y = side / 2 + far * np.cos(angles), side / 2 + far * np.sin(angles) * stretch
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _drawn(side: int, points: Points) -> Image.Image:
    image = Image.new("L", (side, side))
    ImageDraw.Draw(image).polygon(points, fill=255)
    return image


def _ellipse(rng: np.random.Generator, side: int) -> Image.Image:
    return _drawn(side, _ring(120, lambda a: np.full_like(a, 0.96), side, float(rng.uniform(0.35, 1))))


def _polygon(rng: np.random.Generator, side: int) -> Image.Image:
    corners = int(rng.integers(3, 9))
    lengths = rng.uniform(0.45, 0.98, corners)
    turned = rng.uniform(0, 2 * math.pi / corners)
    return _drawn(side, _ring(corners, lambda a: lengths + 0 * a, side, 1)).rotate(math.degrees(turned))


def _star(rng: np.random.Generator, side: int) -> Image.Image:
    arms, waist = int(rng.integers(4, 13)), float(rng.uniform(0.4, 0.8))
    return _drawn(side, _ring(2 * arms, lambda a: np.where(np.arange(2 * arms) % 2, waist, 0.97), side, 1))


def _blob(rng: np.random.Generator, side: int) -> Image.Image:
    orders = np.arange(2, 8)
    heights = rng.normal(0, 0.28, len(orders)) / orders
    shifts = rng.uniform(0, 2 * math.pi, len(orders))

    def radius(angles: np.ndarray) -> np.ndarray:
        waves = (heights[:, None] * np.cos(orders[:, None] * angles + shifts[:, None])).sum(0)
        return np.clip(0.7 * (1 + waves), 0.2, 0.98)

    return _drawn(side, _ring(160, radius, side, float(rng.uniform(0.5, 1))))


def _rectangle(rng: np.random.Generator, side: int) -> Image.Image:
    image = Image.new("L", (side, side))
    high, wide = side * rng.uniform(0.3, 0.98), side * rng.uniform(0.3, 0.98)
    corners = ((side - wide) / 2, (side - high) / 2, (side + wide) / 2, (side + high) / 2)
    ImageDraw.Draw(image).rounded_rectangle(corners, radius=min(high, wide) * rng.choice([0, 0.1, 0.25, 0.5]), fill=255)
    return image


def _band(rng: np.random.Generator, side: int) -> Image.Image:
    """A thick bent stroke: a banana, a hose, an arm."""
    image = Image.new("L", (side, side))
    draw, width = ImageDraw.Draw(image), side * rng.uniform(0.12, 0.3)
    start, middle, end = rng.uniform(0.18, 0.82, (3, 2)) * side
    for t in np.linspace(0, 1, 80):
        x, y = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return image


def _flat(rng: np.random.Generator, side: int, split: Split) -> Image.Image:
    return Image.new("RGB", (side, side), colour(rng))


def _gradient(rng: np.random.Generator, side: int, split: Split) -> Image.Image:
    corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((side, side), Image.Resampling.BILINEAR)


def _stripes(rng: np.random.Generator, side: int, split: Split) -> Image.Image:
    ground, ink = np.array(colour(rng)), np.array(colour(rng))
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    period, angle = rng.uniform(side / 16, side / 3), rng.uniform(0, math.pi)
    wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period)
    if rng.random() < 0.4:
        wave = wave * np.sin((y * math.cos(angle) - x * math.sin(angle)) * 2 * math.pi / period)
    return Image.fromarray(np.where(wave[..., None] > 0, ground, ink).astype(np.uint8))


def _picture(rng: np.random.Generator, side: int, split: Split) -> Image.Image:
    return backdrop(rng, (side, side), split)


def _add_parts(filling: Image.Image, rng: np.random.Generator) -> None:
    """Spots and bars of other colours: an object is not of one colour."""
    draw, side = ImageDraw.Draw(filling), filling.width
    for _ in range(rng.integers(1, 6)):
        x, y = rng.uniform(0, side, 2)
        wide, high = rng.uniform(side / 16, side / 3, 2)
        draw_one = (draw.ellipse, draw.rectangle)[rng.integers(2)]
        draw_one((x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), fill=(*colour(rng), 255))


_SILHOUETTES = (_ellipse, _polygon, _star, _blob, _blob, _rectangle, _band)
_FILLINGS = (_flat, _gradient, _stripes, _picture, _picture)
