"""Simulated users: where they click, which boxes they draw, and where they correct.

Source: Segment Anything (arXiv 2304.02643, appendix A, "Training algorithm").
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from folioscope.model.sam_prompts import BACKGROUND, FOREGROUND

_EXACT = 0.6  # of boxes
_JITTER = 0.1  # of a box's side, standard deviation
_MOST_JITTER = 20  # pixels at 1024, as published
_PUBLISHED_SIDE = 1024
_INWARD, _LOOKS = 2 / 3, 12


def click(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """A pixel (x, y) of a bool (height, width) mask: anywhere, or two times in three the most inward of a few."""
    y, x = np.nonzero(mask)
    chosen = rng.integers(len(x), size=_LOOKS if rng.random() < _INWARD else 1)
    most = _depths(mask)[y[chosen], x[chosen]].argmax() if len(chosen) > 1 else 0
    return float(x[chosen[most]]), float(y[chosen[most]])


def _depths(mask: np.ndarray) -> np.ndarray:
    """(height, width) uint8: how much of a pixel's surroundings, as wide as half the object, is mask too."""
    radius = max(1, round(float(np.sqrt(mask.sum())) / 4))
    framed = Image.fromarray(np.pad(mask, radius)).convert("L").filter(ImageFilter.BoxBlur(radius))
    return np.asarray(framed)[radius:-radius, radius:-radius]


def deepest(mask: np.ndarray) -> tuple[tuple[int, int], int]:
    """The pixel (x, y) of a bool (height, width) mask that is farthest from what is not mask, and how far that is.

    Where the paper's evaluation clicks. Far in king's moves; outside the picture nothing is mask. An empty mask has
    the depth 0, and any pixel will do.
    """
    rest, last, depth = np.pad(mask, 1), np.pad(mask, 1), 0
    while rest.any():
        rows = rest[:-2] & rest[1:-1] & rest[2:]
        rest, last, depth = np.zeros_like(rest), rest, depth + 1
        rest[1:-1, 1:-1] = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    y, x = np.nonzero(last) if depth else (np.ones(1, int), np.ones(1, int))
    middle = np.argmin((x - x.mean()) ** 2 + (y - y.mean()) ** 2)
    return (int(x[middle]) - 1, int(y[middle]) - 1), depth


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 around a bool (height, width) mask, the last two beyond it."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def loose_box(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(4,) a box as a hand draws it: each side off by a tenth of the box's length at most, within the picture."""
    box = np.array(tight_box(mask), np.float32)
    if rng.random() < _EXACT:
        return box
    lengths = np.tile(box[2:] - box[:2], 2)
    most = _MOST_JITTER * max(mask.shape) / _PUBLISHED_SIDE
    shifts = np.clip(rng.normal(0, _JITTER * lengths), -most, most)
    moved = np.clip(box + shifts, 0, np.tile(mask.shape[::-1], 2))
    return moved if (moved[2:] - moved[:2] >= 2).all() else box


def corrections(logits: Tensor, targets: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where a user would click next: anywhere in the error region.

    Args:
        logits, targets: (B, N, s, s), of the mask so far, and of what it should be as 0..1.
        side: Of the encoded picture in pixels.

    Returns:
        (B, N, 1, 2) pixels of the picture, and (B, N, 1) labels. Without any error, a click on the object.
    """
    drawn, wanted = logits > 0, targets > 0.5
    wrong = (drawn ^ wanted).flatten(2).float()  # (B, N, s * s)
    soft = F.avg_pool2d(wrong.view_as(targets), 3, 1, 1).flatten(2)  # the middle of a region rather than its edge
    weights = wrong * soft**2 + 1e-6 * wanted.flatten(2) + 1e-12
    chosen = torch.multinomial(weights.flatten(0, 1), 1, generator=generator).view(*targets.shape[:2], 1)
    width = targets.shape[-1]
    cells = torch.stack([chosen % width, chosen // width], dim=-1)  # (B, N, 1, 2)
    labels = torch.where(wanted.flatten(2).gather(2, chosen), FOREGROUND, BACKGROUND)
    return (cells + 0.5) * (side / width) - 0.5, labels
