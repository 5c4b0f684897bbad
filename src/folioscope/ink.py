"""Ink on a page: whether there is any, how much of it lies inside boxes, and which lines of it a box means.

Found on a small copy, in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image, ImageFilter

from folioscope.types import Box, Region, hull

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
"""Part of the longer side by which boxes are widened before ink is looked for in them: accents and frames stick out."""

MEANT, TOUCHED = 1 / 2, 1 / 10
"""A box means lines that it covers to the first of these parts; without one, that which it covers most of, from the
second on."""

REACH = 1 / 10
"""Part of the longer side by which a box's edges may be off across lines; what is further away it does not mean."""

WORDS_APART = 1 / 40
"""Part of the longer side that words of one line are apart at most, and no more than lines are high."""


@dataclass(frozen=True)
class Ink:
    """Where a page is inked.

    Attributes:
        mask: bool (h, w), True on ink; of the page scaled down.
        scale: What pixels of the page are divided by.
        size: Width and height of the page in pixels.
    """

    mask: np.ndarray = field(repr=False)
    scale: int
    size: tuple[int, int]

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

    def fitted_region(self, region: Region, *, sideways: bool = False) -> Region:
        """A block with its boxes fitted; those of figures only grow, as pale parts of a picture are no ink."""

        def move(box: Box) -> Box:
            fitted = self.fitted(box, sideways=sideways)
            return fitted if region.figure is None else hull((box, fitted))

        return region.moved(move)

    def fitted(self, box: Box, *, sideways: bool = False) -> Box:
        """The box around the lines of ink that a roughly drawn box means, in pixels of the page.

        Along the lines, words belong to it as long as one follows upon the other. A box remains as it is where its
        edges would move far across lines, as on a photograph, and where there is no ink.

        Args:
            sideways: Lines run up or down the page, not across it.
        """
        if sideways:
            return _transposed(replace(self, mask=self.mask.T, size=self.size[::-1]).fitted(_transposed(box)))
        x1, y1, x2, y2 = (value / self.scale for value in box)
        longer = max(self.mask.shape)
        margin = MARGIN * longer
        across = self.mask[:, _between(x1 - margin, x2 + margin)].max(axis=1, initial=False)
        lines = _meant(stretches(across), y1, y2)
        if not len(lines) or max(abs(lines[0, 0] - y1), abs(lines[-1, 1] - y2)) > REACH * longer:
            return box
        top, bottom = lines[0, 0], lines[-1, 1]
        apart = min(float(np.median(lines[:, 1] - lines[:, 0])), WORDS_APART * longer)
        words = _meant(stretches(self.mask[top:bottom].max(axis=0, initial=False), apart), x1, x2)
        if not len(words):
            return box
        left, upper, right, lower = (float(edge * self.scale) for edge in (words[0, 0], top, words[-1, 1], bottom))
        return left, upper, min(right, self.size[0]), min(lower, self.size[1])

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
    return Ink(_without_dust(contrast > CONTRAST), scale, image.size)


def _transposed(box: Box) -> Box:
    x1, y1, x2, y2 = box
    return y1, x1, y2, x2


def _between(start: float, stop: float) -> slice:
    """The pixels between two edges, at least one."""
    first = max(0, round(start))
    return slice(first, max(first + 1, round(stop)))


def stretches(inked: np.ndarray, apart: float = 0) -> np.ndarray:
    """(n, 2) from and to of what is True in bool (length,); with no more than `apart` between them, two are one."""
    edges = np.flatnonzero(np.diff(np.pad(inked.astype(np.int8), 1))).reshape(-1, 2)
    if not len(edges):
        return edges
    wide = edges[1:, 0] - edges[:-1, 1] > apart
    return np.stack([edges[np.r_[True, wide], 0], edges[np.r_[wide, True], 1]], axis=1)


def _meant(found: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Those of (n, 2) stretches that are meant by one from `start` to `stop`."""
    covered = np.minimum(found[:, 1], stop) - np.maximum(found[:, 0], start)
    lengths = found[:, 1] - found[:, 0]
    meant = covered >= MEANT * lengths
    if not meant.any():
        shares = covered / np.minimum(lengths, max(1.0, stop - start))
        meant = shares >= shares.max(initial=TOUCHED)
    return found[meant]


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
