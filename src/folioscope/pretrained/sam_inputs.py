"""What SAM is called with under the published names, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from folioscope.config import SamConfig
from folioscope.model.sam_prompts import BACKGROUND, FOREGROUND, PADDING
from folioscope.types import InputError

SHAPES = {
    "pixel_values": "(B, 3, H, W), images",
    "image_embeddings": "(B, {width}, h, w), as get_image_embeddings returns them",
    "input_points": "(B, N, P, 2): images, objects, points, x and y",
    "input_labels": "(B, N, P), one for each of input_points",
    "input_boxes": "(B, N, 4): images, objects, x1 y1 x2 y2",
    "input_masks": "(B, 1, 4h, 4w), or (B, N, 4h, 4w) for one an object: logits of an earlier prediction",
}
"""Of every argument."""

AXES = {"input_points": 4, "input_labels": 3, "input_boxes": 3, "input_masks": 4}


@dataclass(frozen=True)
class SamInputs:
    """What is asked of B images, as a processor returns it; see `SHAPES`.

    Attributes:
        pixel_values, image_embeddings: One of the two.
        input_points, input_boxes: In pixels of the image as it is encoded.
        input_masks: (B, 4h, 4w) is taken as (B, 1, 4h, 4w).
    """

    pixel_values: Tensor | None = None
    image_embeddings: Tensor | None = None
    input_points: Tensor | None = None
    input_labels: Tensor | None = None
    input_boxes: Tensor | None = None
    input_masks: Tensor | None = None

    def check_image(self, config: SamConfig) -> None:
        """Raises InputError unless there is an image, and one that this model can take."""
        pixels, seen, patch = self.pixel_values, self.image_embeddings, config.vit.patch_size
        if (pixels is None) == (seen is None):
            both = "neither" if pixels is None else "both"
            raise InputError(f"pixel_values and image_embeddings: given {both}; expected exactly one of them")
        if pixels is not None:
            good = _tensor("pixel_values", pixels).ndim == 4 and pixels.shape[1] == 3 and all(pixels.shape)
            if not good or any(side % patch for side in pixels.shape[2:]):
                raise InputError(_unfit("pixel_values", pixels, f", H and W multiples of {patch}"))
        if seen is not None and not (_tensor("image_embeddings", seen).ndim == 4 and seen.shape[1] == config.width):
            raise InputError(_unfit("image_embeddings", seen).format(width=config.width))

    def prompts(self, grid: tuple[int, int], images: int, patch_size: int) -> dict[str, Tensor | None]:
        """The prompts as `Sam.predict` takes them, for `images` images encoded to `grid` (h, w).

        Raises InputError for other shapes, NaN, a point outside the image, a box turned around, or counts of images or
        objects that differ.
        """
        points, labels, boxes, masks = (getattr(self, name) for name in AXES)
        if isinstance(masks, Tensor) and masks.ndim == 3:
            masks = masks[:, None]
        given = dict(zip(AXES, (points, labels, boxes, masks), strict=True))
        for name, value in given.items():
            if value is not None:
                _check_axes(name, value, images)
        if labels is not None:
            _check_labels(labels, points)
        if points is not None:
            _check_points(points, labels, (grid[1] * patch_size, grid[0] * patch_size))
        if boxes is not None:
            _check_boxes(boxes)
        if masks is not None:
            _check_masks(masks, grid)
        _check_objects(given)
        return {name.removeprefix("input_"): value for name, value in given.items()}


def _unfit(name: str, value: Tensor, more: str = "") -> str:
    return f"{name}: shape {tuple(value.shape)}; expected {SHAPES[name]}{more}"


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        wanted = SHAPES[name].partition(":")[0]
        raise InputError(f'{name}: a {type(value).__name__}; give a tensor {wanted} (return_tensors="pt")')
    return value


def _check_axes(name: str, value: Any, images: int) -> None:
    tensor, last = _tensor(name, value), {"input_points": 2, "input_boxes": 4}.get(name)
    if tensor.ndim != AXES[name] or (last and tensor.shape[-1] != last):
        raise InputError(_unfit(name, tensor))
    if not tensor.numel():
        raise InputError(f"{name}: shape {tuple(tensor.shape)} is empty; leave it out, or give {SHAPES[name]}")
    if len(tensor) != images:
        raise InputError(f"{name}: shape {tuple(tensor.shape)} is for {len(tensor)} images, but there are {images}")
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise InputError(f"{name}: holds NaN or infinity; expected finite numbers")


def _check_labels(labels: Tensor, points: Tensor | None) -> None:
    if points is None:
        raise InputError(f"input_labels: shape {tuple(labels.shape)} without input_points; give one for each point")
    if labels.shape != points.shape[:3]:
        raise InputError(_unfit("input_labels", labels, f" of shape {tuple(points.shape)}"))


def _check_points(points: Tensor, labels: Tensor | None, size: tuple[int, int]) -> None:
    outside = (points < 0).any(dim=-1) | (points > points.new_tensor(size)).any(dim=-1)
    if labels is not None:
        outside = outside & ((labels == FOREGROUND) | (labels == BACKGROUND)).to(outside.device)
    if bool(outside.any()):
        x, y = points[outside][0].tolist()
        side = f"{size[0]} x {size[1]} pixels as it is encoded"
        raise InputError(f"input_points: ({x:g}, {y:g}) is outside the image, {side}; let the processor scale points")


def _check_boxes(boxes: Tensor) -> None:
    turned = (boxes[..., :2] > boxes[..., 2:]).any(dim=-1) & ~(boxes == PADDING).all(dim=-1)
    if bool(turned.any()):
        edges = ", ".join(f"{edge:g}" for edge in boxes[turned][0].tolist())
        raise InputError(f"input_boxes: ({edges}) has x1 > x2 or y1 > y2; give left, top, right, bottom")


def _check_masks(masks: Tensor, grid: tuple[int, int]) -> None:
    if not masks.is_floating_point():
        kind = str(masks.dtype).removeprefix("torch.")
        raise InputError(f"input_masks: {kind} numbers; expected floating-point logits, such as pred_masks")
    if masks.shape[2:] != (4 * grid[0], 4 * grid[1]):
        raise InputError(_unfit("input_masks", masks, f", 4h = {4 * grid[0]} and 4w = {4 * grid[1]}"))


def _check_objects(given: dict[str, Tensor | None]) -> None:
    """One mask serves all objects; otherwise all prompts are for as many."""
    counts = {name: value.shape[1] for name, value in given.items() if value is not None and name != "input_labels"}
    wanted = {count for name, count in counts.items() if name != "input_masks" or count > 1}
    if len(wanted) > 1:
        listed = " and ".join(f"{name} for {count}" for name, count in counts.items())
        raise InputError(f"{listed} objects; give all of them for the same objects")


def check_broadcast(name: str, value: Tensor | None, shape: tuple[int, ...], axes: str) -> None:
    """Raises InputError for a tensor that does not broadcast to `shape` without making it larger."""
    if value is None:
        return
    try:
        fits = torch.broadcast_shapes(_tensor(name, value).shape, shape) == shape
    except RuntimeError:
        fits = False
    if not fits:
        raise InputError(f"{name}: shape {tuple(value.shape)}; expected one that broadcasts to {axes} = {shape}")
