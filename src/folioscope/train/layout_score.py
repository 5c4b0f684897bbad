"""How well regions are found: matched one to one by overlap, then compared by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from folioscope.types import Box, Region

ENOUGH = 0.5
"""IoU from which two regions are the same place."""


@dataclass(frozen=True)
class LayoutScore:
    """Counts over pages: regions found, regions there, found in a place that is there, of those with its label."""

    found: int = 0
    there: int = 0
    matched: int = 0
    labelled: int = 0

    def __add__(self, other: LayoutScore) -> LayoutScore:
        return LayoutScore(
            self.found + other.found,
            self.there + other.there,
            self.matched + other.matched,
            self.labelled + other.labelled,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall at IoU `ENOUGH`, 0..1; 1 where nothing is there and nothing found."""
        everything = self.found + self.there
        return 2 * self.matched / everything if everything else 1.0

    @property
    def label_accuracy(self) -> float:
        """Share of the matched regions that carry the right label, 0..1."""
        return self.labelled / self.matched if self.matched else 0.0


def compare_regions(found: Sequence[Region], there: Sequence[Region]) -> LayoutScore:
    """Match the boxed regions of an answer and of a page, the pairs that overlap most first."""
    found, there = ([region for region in regions if region.box] for regions in (found, there))
    ious = np.array([[_iou(one.box, other.box) for other in there] for one in found]).reshape(len(found), len(there))
    pairs = []
    while ious.size and ious.max() >= ENOUGH:
        one, other = np.unravel_index(ious.argmax(), ious.shape)
        pairs.append((found[one].label, there[other].label))
        ious[one], ious[:, other] = 0, 0
    return LayoutScore(len(found), len(there), len(pairs), sum(one == other for one, other in pairs))


def _iou(one: Box | None, other: Box | None) -> float:
    assert one
    assert other
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / max(1e-9, sum(areas) - shared)
