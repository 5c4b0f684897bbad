"""Points, boxes and masks as users give them → checked, and in the model's terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from folioscope.masks import MaskPrompt
from folioscope.model.sam_prompts import BACKGROUND, FOREGROUND, NOT_A_POINT, PADDING
from folioscope.types import Box, InputError
from folioscope.views import SamFrame

LABELS = {FOREGROUND: "on the object", BACKGROUND: "beside it", NOT_A_POINT: "not a point", PADDING: "padding"}

UNSURE = 1e-3
"""Probability that a plain mask is wrong about a pixel. It becomes a logit, and what is outside the image becomes 0, as
in micro-sam (`_compute_logits_from_mask`), whose authors found that the model does not understand other padding."""


@dataclass(frozen=True)
class PromptTensors:
    """The prompts of N objects in one image, as `Sam.predict` takes them: (1, N, …) each, in pixels of the square."""

    points: Tensor
    labels: Tensor
    boxes: Tensor | None
    masks: Tensor | None


def given_prompt(points: Any, labels: Any, box: Any, mask: Any) -> MaskPrompt:
    """The prompt of these, of which None is none. Raises InputError for what is there and empty."""
    for name, given in (("points", points), ("labels", labels), ("box", box), ("mask", mask)):
        if given is not None and _length(given) == 0:
            raise InputError(f"{name}: is empty; leave it out, or give at least one")
    return MaskPrompt(() if points is None else points, () if labels is None else labels, box, mask)


def _length(given: Any) -> int:
    try:
        return len(given)
    except TypeError:  # one number, or none at all: its shape is complained of later
        return 1


def checked(prompt: MaskPrompt, size: tuple[int, int], mask_side: int) -> MaskPrompt:
    """The prompt in plain numbers, every label written out.

    Args:
        prompt: Of sequences, arrays or tensors on the CPU.
        size: Width and height of the image.
        mask_side: Of a mask prompt, 4h = 4w.

    Raises:
        InputError: A wrong shape, NaN, a point or box outside the image, a box turned around, an unknown label, labels
            without points, or a mask that is not of logits.
    """
    if _length(prompt.points) == 0:
        if _length(prompt.labels):
            raise InputError(f"labels: given {_length(prompt.labels)} without points; expected one for each point")
        points, labels = (), ()
    else:
        points = _points(prompt.points, size)
        labels = _labels(prompt.labels, len(points))
    box = None if prompt.box is None else _box(prompt.box, size)
    return MaskPrompt(points, labels, box, None if prompt.mask is None else _mask(prompt.mask, mask_side))


def _points(given: Any, size: tuple[int, int]) -> tuple[tuple[float, float], ...]:
    points = _numbers("points", given, "(P, 2)")
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"points: expected shape (P, 2), x and y of each, given {points.shape}")
    outside = (points < 0).any(axis=1) | (points >= size).any(axis=1)
    if outside.any():
        x, y = points[outside][0]
        raise InputError(f"points: ({x:g}, {y:g}) is outside the image of {size[0]} x {size[1]} pixels")
    return tuple((float(x), float(y)) for x, y in points)


def _labels(given: Any, count: int) -> tuple[int, ...]:
    if _length(given) == 0:
        return (FOREGROUND,) * count
    labels = _numbers("labels", given, f"({count},)")
    if labels.shape != (count,):
        raise InputError(f"labels: expected shape ({count},), one for each of the points, given {labels.shape}")
    unknown = [label for label in labels.tolist() if label not in LABELS]
    if unknown:
        known = ", ".join(f"{label} {meaning}" for label, meaning in LABELS.items())
        raise InputError(f"labels: {unknown[0]:g} is none; expected {known}")
    return tuple(int(label) for label in labels)


def _box(given: Any, size: tuple[int, int]) -> Box:
    box = _numbers("box", given, "(4,)")
    if box.shape != (4,):
        raise InputError(f"box: expected shape (4,), x1, y1, x2, y2 of one object, given {box.shape}")
    x1, y1, x2, y2 = box.tolist()
    text = f"box: ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if x1 >= x2 or y1 >= y2:
        raise InputError(f"{text}: expected x1 < x2 and y1 < y2; give its left top corner first")
    if x1 < 0 or y1 < 0 or x2 > size[0] or y2 > size[1]:
        raise InputError(f"{text}: reaches beyond the image of {size[0]} x {size[1]} pixels")
    return x1, y1, x2, y2


def _mask(given: Any, side: int) -> np.ndarray:
    mask = _array("mask", given, f"({side}, {side})")
    if mask.dtype.kind != "f":
        raise InputError(f"mask: {mask.dtype} numbers; expected floating-point logits, such as Mask.low_logits")
    mask = mask[0] if mask.ndim == 3 and len(mask) == 1 else mask
    if mask.shape != (side, side):
        raise InputError(f"mask: expected shape ({side}, {side}), such as Mask.low_logits, given {mask.shape}")
    if not np.isfinite(mask).all():
        raise InputError("mask: holds NaN or infinity; expected finite logits")
    return mask.astype(np.float32)


def rough_logits(mask: Image.Image, side: int) -> np.ndarray:
    """A grey picture of the whole image as float32 (side, side) mask logits: white is the object."""
    frame = SamFrame(mask.size, side)
    scaled = np.asarray(mask.resize(frame.scaled, Image.Resampling.BILINEAR), np.float32) / 255
    odds = np.clip(scaled, UNSURE, 1 - UNSURE)
    logits = np.zeros((side, side), np.float32)
    logits[: frame.scaled[1], : frame.scaled[0]] = np.log(odds / (1 - odds))
    return logits


def _numbers(name: str, given: Any, shape: str) -> np.ndarray:
    array = _array(name, given, shape, np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: holds NaN or infinity; expected numbers of shape {shape}")
    return array


def _array(name: str, given: Any, shape: str, dtype: type | None = None) -> np.ndarray:
    try:
        return np.asarray(given, dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: not an array of numbers on the CPU; expected shape {shape}") from error


def as_tensors(prompts: Sequence[MaskPrompt], frame: SamFrame) -> PromptTensors:
    """Bring N checked prompts for one image into the model's terms; all of them have a mask, or none has.

    What an object has less than others is padded, and has no influence.
    """
    count = max(len(prompt.points) for prompt in prompts)
    points = np.zeros((len(prompts), count, 2))
    labels = np.full((len(prompts), count), PADDING)
    boxes = np.full((len(prompts), 4), float(PADDING))
    for row, prompt in enumerate(prompts):
        if prompt.points:
            points[row, : len(prompt.points)] = np.multiply(prompt.points, frame.ratios)
            labels[row, : len(prompt.labels)] = prompt.labels
        if prompt.box:
            boxes[row] = np.multiply(prompt.box, frame.ratios * 2)
    return PromptTensors(
        _single(points),
        torch.from_numpy(labels)[None],
        _single(boxes) if any(prompt.box for prompt in prompts) else None,
        None if prompts[0].mask is None else _single(np.stack([prompt.mask for prompt in prompts])),
    )


def _single(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))[None]  # (1, N, ...)
