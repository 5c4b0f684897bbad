"""Type that no type face has: whole pages drawn out or squeezed, their ink spread or worn.

A machine has few designs of type, and a reader that has learnt only these reads others badly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from folioscope.train.render import TrainingPage

STRETCH = 0.3
"""Natural logarithm of the largest ratio of width to height, to what it was."""

INK = 0.5
"""Largest share of a pixel by which strokes are made fatter or leaner on each side."""


def varied(page: TrainingPage, rng: np.random.Generator) -> TrainingPage:
    """The page varied; no box in its answer changes, they are in parts of the page."""
    image = varied_image(page.image, rng)
    scale = np.array(image.size, dtype=np.float32) / page.image.size
    return replace(
        page,
        image=image,
        grounded_xy=page.grounded_xy * scale,
        plain_xy=page.plain_xy * scale,
        glyphs=page.glyphs * np.concatenate([np.ones(1, np.float32), scale, scale]),
        blocks=page.blocks * np.tile(scale, 2),
    )


def varied_image(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """With other proportions, and with strokes fatter or leaner; each in half of all cases."""
    if rng.random() < 0.5:
        image = _stretched(image, float(np.exp(rng.uniform(-STRETCH, STRETCH) / 2)))
    return _inked(image, float(rng.uniform(-INK, INK))) if rng.random() < 0.5 else image


def _stretched(image: Image.Image, factor: float) -> Image.Image:
    """`factor` times as wide and as much less high."""
    size = max(1, round(image.width * factor)), max(1, round(image.height / factor))
    return image.resize(size, Image.Resampling.BICUBIC)


def _inked(image: Image.Image, amount: float) -> Image.Image:
    """What is dark grown by so much of a pixel, or what is light if `amount` is below 0."""
    grown = image.filter(ImageFilter.MinFilter(3) if amount > 0 else ImageFilter.MaxFilter(3))
    return Image.blend(image, grown, abs(amount))
