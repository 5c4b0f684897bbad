"""What is asked of Segment Anything, and what comes back.

Nothing here imports torch, numpy or Pillow at once: the command knows its options without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from folioscope.types import Box, InputError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class MaskPrompt:
    """What one object was, or is to be, cut out by; all in pixels of the image, (x, y). Empty is no prompt.

    Attributes:
        labels: One for each point: 1 on the object, 0 beside it, -1 not a point; empty is all 1.
        mask: (4h, 4w) logits such as `Mask.low_logits`.
    """

    points: Sequence[Sequence[float]] = ()
    labels: Sequence[int] = ()
    box: Box | None = None
    mask: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Mask:
    """One object cut out of an image.

    Attributes:
        size: Width and height of the image in pixels.
        runs: From `runs_of`.
        score: The model's estimate of the mask's IoU with the object; raw, so below 0 and above 1 too.
        stability: IoU of its masks at thresholds above and below 0, of a mask found without a prompt.
        crop: The part of the image it was then found in, x1, y1, x2, y2 in pixels.
        low_logits: float32 (4h, 4w) array, in the frame of the image as it was encoded: a prompt for the next mask.
        upscaled: Makes `logits`.
    """

    size: tuple[int, int]
    runs: bytes = field(repr=False)
    score: float
    prompt: MaskPrompt = field(default_factory=MaskPrompt)
    stability: float | None = None
    crop: tuple[int, int, int, int] | None = None
    low_logits: Any = field(default=None, repr=False, compare=False)
    upscaled: Callable[[], np.ndarray] | None = field(default=None, repr=False, compare=False)

    @property
    def array(self) -> np.ndarray:
        """bool (height, width), True on the object."""
        import numpy as np  # of those who import types, few look into a mask

        lengths = np.frombuffer(self.runs, np.uint32)
        flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
        return np.ascontiguousarray(flat.reshape(self.size).T)

    @property
    def logits(self) -> np.ndarray:
        """float32 (height, width), above 0 on the object. Raises InputError for a mask that kept none."""
        if self.upscaled is None:
            raise InputError("logits: a mask found without a prompt keeps none; predict with its point")
        return self.upscaled()

    @cached_property
    def area(self) -> int:
        """Pixels of the object."""
        return sum(memoryview(self.runs).cast("I")[1::2])

    @cached_property
    def box(self) -> tuple[int, int, int, int] | None:
        """The smallest box around the object in pixels, or None if there is none."""
        from numpy import flatnonzero

        array = self.array
        rows, columns = (flatnonzero(array.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return None
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def runs_of(array: np.ndarray) -> bytes:
    """Lengths of the runs of False and True in turn, False first, down the columns of a bool (height, width) array.

    As native unsigned 32-bit numbers: COCO's run-length code, of which 0 may be the first, and only the first.
    """
    import numpy as np

    flat = array.T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.diff(edges, prepend=[0] * (1 + int(flat[0])), append=flat.size).astype(np.uint32).tobytes()


@dataclass(frozen=True)
class EverythingOptions:
    """How everything is cut out; names and defaults are those of Meta's generator.

    Attributes:
        points_per_side: Points in a row of the grid over the image; None if `point_grids` are given.
        points_per_batch: Prompts decoded at once: more take more memory.
        pred_iou_thresh: A mask's score must be above it; 0 keeps all.
        stability_score_thresh: Its stability must be at least this; 0 keeps all.
        stability_score_offset: How far above and below 0 the thresholds are whose masks' IoU is the stability.
        box_nms_thresh: Of two masks of a crop whose boxes' IoU is above it, the one with the better score stays.
        crop_n_layers: Layer i has 2^i x 2^i crops of the image besides the image itself; 0 is none.
        crop_nms_thresh: As `box_nms_thresh`, between crops; there the mask from the smaller crop stays.
        crop_overlap_ratio: Overlap of neighbouring crops of the first layer, in parts of the image's shorter side.
        crop_n_points_downscale_factor: Points per side become this many times fewer with every layer.
        point_grids: (P, 2) points x, y in 0..1 of a crop, for the image and for each layer.
        min_mask_region_area: Smaller holes are filled and smaller islands removed, in pixels; 0 is off.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[np.ndarray] | None = None
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            raise InputError("points_per_side, point_grids: give exactly one, and None for the other")
        if self.point_grids is not None and len(self.point_grids) != self.crop_n_layers + 1:
            given = len(self.point_grids)
            raise InputError(f"point_grids: expected {self.crop_n_layers + 1}, one for each layer, given {given}")
        checks = (
            ("points_per_side", 1, math.inf),
            ("points_per_batch", 1, math.inf),
            ("box_nms_thresh", 0, 1),
            ("crop_n_layers", 0, math.inf),
            ("crop_nms_thresh", 0, 1),
            ("crop_overlap_ratio", 0, 1),
            ("crop_n_points_downscale_factor", 1, math.inf),
            ("min_mask_region_area", 0, math.inf),
        )
        for name, least, most in checks:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                bounds = f"at least {least}" if most == math.inf else f"{least} to {most}"
                raise InputError(f"{name}={value!r}: expected {bounds}")
