"""Connected regions of a mask, and masks without the small ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Regions:
    """The regions of True, of 8-connected pixels, numbered in the order of their first pixels, row by row.

    Attributes:
        sizes: (regions,) pixels of each.
        starts, stops: (runs,) of each run of a row, as offsets in the array with one column of False added.
        numbers: (runs,) the region of each run.
    """

    sizes: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    numbers: np.ndarray


def without_small_regions(array: np.ndarray, area: int) -> tuple[np.ndarray, bool]:
    """A bool (height, width) array with its holes filled, then its islands removed, that have less than `area` pixels.

    If all islands are small, the largest stays. Background around the object counts as a hole, as in Meta's code.
    Also returns whether there was a small region, which may be the one that stays.
    """
    holes = connected(~array)
    small_holes = holes.sizes < area
    filled = array | _drawn(holes, small_holes, array.shape)
    islands = connected(filled)
    small = islands.sizes < area
    found = bool(small_holes.any() or small.any())
    if len(small) and small.all():
        small[islands.sizes.argmax()] = False
    return filled & ~_drawn(islands, small, array.shape), found


def connected(array: np.ndarray) -> Regions:
    """Find the connected regions of True in a bool (height, width) array."""
    row = array.shape[1] + 1
    flat = np.pad(array, ((0, 0), (0, 1))).ravel().astype(np.int8)
    steps = np.diff(flat, prepend=0)
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    first = np.searchsorted(stops, starts + row, "left")  # runs of the next row that end no sooner than this begins
    last = np.searchsorted(starts, stops + row, "right")  # and those that begin no later than this ends
    touching = last - first
    above = np.repeat(np.arange(len(starts)), touching)
    below = np.arange(len(above)) + np.repeat(first - (np.cumsum(touching) - touching), touching)
    numbers = np.unique(_joined(len(starts), above, below), return_inverse=True)[1].astype(np.intp)
    return Regions(np.bincount(numbers, stops - starts).astype(np.int64), starts, stops, numbers)


def _joined(count: int, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """For each of `count` runs, the first that it is joined to by the pairs (above, below), directly or not."""
    root = np.arange(count)
    while (root[above] != root[below]).any():
        a, b = root[above], root[below]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while (root[root] != root).any():
            root = root[root]
    return root


def _drawn(regions: Regions, chosen: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bool array of this (height, width), True in the regions where `chosen` (regions,) is."""
    runs = chosen[regions.numbers]
    steps = np.zeros((shape[0], shape[1] + 1), np.int8)
    steps.ravel()[regions.starts[runs]] = 1
    steps.ravel()[regions.stops[runs]] = -1
    return steps.cumsum(axis=1, dtype=np.int8)[:, :-1].astype(bool)
