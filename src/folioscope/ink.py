"""Ink on a page: whether there is any, and how much of it lies inside boxes. Found on a small copy, in milliseconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

from folioscope.types import Box

SIDE = 1000
"""Longer pages are scaled down, by whole numbers, to less than twice this: a point of a letter-sized page is a pixel
or two, and grain is gone."""

CONTRAST = 32
"""Ink is darker than what is around it by this, of 255; on a dark page, lighter. Shadows and stains change slowly."""

AROUND = 1 / 40
"""How far around, as a part of the page's shorter side."""

NEIGHBOURS = 3
"""Pixels of ink, its own included, in the 3 x 3 around one: what has fewer is dust."""

BLANK = 6
"""Pixels of ink, dust left out; a page with fewer is blank. The figure 1 in 10 points has some 16."""

CLEARLY = 1.8
"""Lines of text make the rows of a page so many times more uneven than its columns."""

MARGIN = 1 / 100
"""Part of the longer side by which boxes are widened before ink is looked for in them: accents and tails stick out."""


@dataclass(frozen=True)
class Ink:
    """Where a page is inked.

    Attributes:
        mask: bool (h, w), True on ink; of the page scaled down.
        scale: What pixels of the page are divided by.
    """

    mask: np.ndarray = field(repr=False)
    scale: int

    @property
    def blank(self) -> bool:
        """Whether there is nothing to read."""
        return int(self.mask.sum()) < BLANK

    @property
    def in_lines(self) -> bool:
        """Whether the ink clearly stands in lines across the page, whichever of their two ways up."""
        if self.blank:
            return False
        rows, columns = (_unevenness(self.mask.sum(axis=axis)) for axis in (1, 0))
        return rows > CLEARLY * columns

    def inside(self, boxes: Sequence[Box]) -> float | None:
        """The share, 0..1, of the ink that lies in any of the boxes, in pixels of the page; None without ink."""
        if self.blank:
            return None
        left = self.mask.copy()
        margin = MARGIN * max(left.shape)
        for x1, y1, x2, y2 in boxes:
            top, first = (max(0, math.floor(start / self.scale - margin)) for start in (y1, x1))
            bottom, last = (max(0, math.ceil(end / self.scale + margin)) for end in (y2, x2))
            left[top:bottom, first:last] = False
        return 1 - float(left.sum() / self.mask.sum())

    def gap(self, start: float, stop: float, axis: int) -> int:
        """Where a line across the page meets the least ink, in pixels of the page along `axis` (0 is y, 1 is x).

        Looked for between `start` and `stop`, parts of the page; of places alike, the one nearest to their middle.
        """
        crossed = self.mask.sum(axis=1 - axis)
        first, last = int(start * len(crossed)), max(int(start * len(crossed)) + 1, int(stop * len(crossed)))
        places = np.arange(first, last)
        order = np.lexsort((abs(places - (first + last - 1) / 2), crossed[first:last]))
        return int(places[order[0]]) * self.scale


def ink_of(image: Image.Image) -> Ink:
    """The ink of an RGB page of any size from 1 x 1."""
    scale = max(1, max(image.size) // SIDE)
    grey = image.reduce(scale).convert("L")
    around = np.asarray(grey.filter(ImageFilter.BoxBlur(max(4, AROUND * min(grey.size)))), np.int16)
    levels = np.asarray(grey, np.int16)
    contrast = levels - around if np.median(levels) < 128 else around - levels
    return Ink(_without_dust(contrast > CONTRAST), scale)


def _unevenness(profile: np.ndarray) -> float:
    """Standard deviation over mean of what lies between the first and the last that is not 0."""
    inked = np.flatnonzero(profile)
    between = profile[inked[0] : inked[-1] + 1]
    return float(between.std() / between.mean())


def _without_dust(mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    edged = np.pad(mask, 1).astype(np.int8)
    count = sum(edged[y : y + height, x : x + width] for y in range(3) for x in range(3))
    return mask & (count >= NEIGHBOURS)
