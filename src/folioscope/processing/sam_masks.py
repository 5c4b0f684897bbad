"""Low-resolution mask logits of SAM's frame → masks of the photos, a few objects at a time.

Source: `Sam.postprocess_masks` of Segment Anything (facebookresearch/segment-anything@dca509f).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

CHUNK_BYTES = 256_000_000
"""Memory that masks on their way up may take beside the result; more only if one object's masks need it."""

PIXEL_BYTES = 2 * 4
"""Of a float32 mask while it is interpolated: torch does three channels in another layout and copies them."""


@dataclass(frozen=True)
class Placement:
    """Where a photo lies in its frame; every size is height and width in pixels.

    Attributes:
        original: Of the photo.
        reshaped: Of the photo as it lies in the frame's left top corner.
        padded: Of the frame.
    """

    original: tuple[int, int]
    reshaped: tuple[int, int]
    padded: tuple[int, int]


def masks_of_photo(logits: Tensor, place: Placement, threshold: float | None) -> Tensor:
    """Bring (..., h, w) logits of any floating-point dtype to the photo's size, computed in float32.

    Returns:
        (..., height, width), bool: where they are above `threshold`; float32 logits if that is None.
    """
    objects = logits.unflatten(0, (-1, 1)) if logits.ndim == 3 else logits.flatten(0, -4)  # (N, M, h, w)
    dtype = torch.float32 if threshold is None else torch.bool
    masks = torch.empty(*objects.shape[:2], *place.original, dtype=dtype, device=logits.device)
    pixels = sum(height * width for height, width in (place.padded, place.reshaped, place.original))
    step = max(1, CHUNK_BYTES // (PIXEL_BYTES * pixels * objects.shape[1]))
    for start in range(0, len(objects), step):
        masks[start : start + step] = _upscaled(objects[start : start + step], place, threshold)
    return masks.reshape(*logits.shape[:-2], *place.original)


def _upscaled(objects: Tensor, place: Placement, threshold: float | None) -> Tensor:
    frame = interpolate(objects.float(), place.padded, mode="bilinear")  # (n, M, S, S)
    photo = frame[..., : place.reshaped[0], : place.reshaped[1]]
    photo = interpolate(photo, place.original, mode="bilinear")  # (n, M, H, W)
    return photo if threshold is None else photo > threshold
