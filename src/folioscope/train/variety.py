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
    """The page with other proportions, and with its strokes fatter or leaner; each in half of all cases."""
    if rng.random() < 0.5:
        page = _stretched(page, float(np.exp(rng.uniform(-STRETCH, STRETCH) / 2)))
    if rng.random() < 0.5:
        page = replace(page, image=_inked(page.image, float(rng.uniform(-INK, INK))))
    return page


def _stretched(page: TrainingPage, factor: float) -> TrainingPage:
    """`factor` times as wide and as much less high: no box in the answer changes, they are in parts of the page."""
    width, height = page.image.size
    size = max(1, round(width * factor)), max(1, round(height / factor))
    scale = np.array(size, dtype=np.float32) / page.image.size
    glyphs = page.glyphs * np.concatenate([np.ones(1, np.float32), scale, scale])
    return replace(
        page,
        image=page.image.resize(size, Image.Resampling.BICUBIC),
        grounded_xy=page.grounded_xy * scale,
        plain_xy=page.plain_xy * scale,
        glyphs=glyphs,
        blocks=page.blocks * np.tile(scale, 2),
    )


def _inked(image: Image.Image, amount: float) -> Image.Image:
    """What is dark grown by so much of a pixel, or what is light if `amount` is below 0."""
    grown = image.filter(ImageFilter.MinFilter(3) if amount > 0 else ImageFilter.MaxFilter(3))
    return Image.blend(image, grown, abs(amount))
