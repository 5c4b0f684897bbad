"""Pictures for the image blocks of training pages: nothing to read in them, much to see."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

PixelBox = tuple[int, int, int, int]


def draw_picture(page: Image.Image, box: PixelBox, rng: np.random.Generator) -> None:
    """Fill `box` (pixels) of the RGB `page` with a photograph-like texture, shapes or a bar chart."""
    size = (box[2] - box[0], box[3] - box[1])
    make = (_texture, _shapes, _bars)[rng.integers(3)]
    picture = make(size, rng)
    if rng.random() < 0.4:
        ImageDraw.Draw(picture).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=(40, 40, 40))
    page.paste(picture, box[:2])


def _texture(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Coarse noise, made smooth, with fine grain: sky, leaves or water from afar."""
    coarse = rng.integers(0, 256, (int(rng.integers(2, 9)), int(rng.integers(2, 9)), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    grain = rng.standard_normal((size[1], size[0], 1), dtype=np.float32) * np.float32(rng.uniform(0, 25))
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def _shapes(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", size, _colour(rng))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(3, 9)):
        x1, x2 = np.sort(rng.integers(0, size[0], 2)).tolist()
        y1, y2 = np.sort(rng.integers(0, size[1], 2)).tolist()
        shape = (draw.ellipse, draw.rectangle, draw.line)[rng.integers(3)]
        shape((x1, y1, x2, y2), fill=_colour(rng))
    return picture


def _bars(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", size, (245, 245, 245))
    draw = ImageDraw.Draw(picture)
    colour, count = _colour(rng), int(rng.integers(3, 10))
    step = size[0] / count
    for number, height in enumerate(rng.uniform(0.1, 0.95, count) * size[1]):
        left = number * step + step * 0.15
        draw.rectangle((left, size[1] - height, left + step * 0.7, size[1]), fill=colour)
    return picture


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue
