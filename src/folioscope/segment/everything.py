"""No prompt: a grid of points over the image, and over crops of it, and what is left of their masks.

Source: `SamAutomaticMaskGenerator` of facebookresearch/segment-anything at dca509f; appendix B of arXiv 2304.02643.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from torch import Tensor

from folioscope.masks import EverythingOptions, Mask, MaskPrompt, runs_of
from folioscope.model.sam_prompts import FOREGROUND
from folioscope.segment.nms import suppress
from folioscope.segment.regions import without_small_regions
from folioscope.views import unmap_masks

if TYPE_CHECKING:
    from folioscope.segment import Segmenter
    from folioscope.segment.scene import Scene

EDGE_PIXELS = 20
"""A mask this near to a crop's edge is likely cut off by it."""

PixelBox = tuple[int, int, int, int]
Progress = Callable[[int, int], None]
Embed: TypeAlias = "Callable[[PixelBox], Scene]"


def everything(
    segmenter: Segmenter, size: tuple[int, int], embed: Embed, options: EverythingOptions, progress: Progress | None
) -> list[Mask]:
    """The masks of an image of `size`, whose crops `embed` embeds; see `Segmenter.segment_all`."""
    crops = crop_boxes(size, options.crop_n_layers, options.crop_overlap_ratio)
    grids = point_grids(options)
    total = sum(math.ceil(len(grids[layer]) / options.points_per_batch) for _, layer in crops)
    done, masks = 0, []
    for crop, layer in crops:
        found: list[Mask] = []
        for some in _found(segmenter, embed(crop), size, crop, grids[layer], options):
            found += some
            done += 1
            if progress:
                progress(done, total)
        masks += _best(found, [mask.score for mask in found], options.box_nms_thresh)
    if len(crops) > 1:
        masks = _best(masks, [1 / _area(mask.crop) for mask in masks if mask.crop], options.crop_nms_thresh)
    return _tidied(masks, options) if options.min_mask_region_area else masks


def crop_boxes(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[tuple[PixelBox, int]]:
    """The image of `size` (width, height) and its crops, x1, y1, x2, y2 in pixels, each with its layer."""
    crops = [((0, 0, *size), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / count))
        width, height = (math.ceil((overlap * (count - 1) + length) / count) for length in size)
        for column, row in product(range(count), repeat=2):
            x, y = (width - overlap) * column, (height - overlap) * row
            box = x, y, min(x + width, size[0]), min(y + height, size[1])
            if _area(box) > 0:  # an image of few pixels has fewer crops
                crops.append((box, layer))
    return crops


def _area(box: PixelBox) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def point_grids(options: EverythingOptions) -> list[np.ndarray]:
    """For the image and each layer of crops, (P, 2) points x, y in 0..1, row by row."""
    if options.points_per_side is None:
        return [np.asarray(grid, dtype=np.float64).reshape(-1, 2) for grid in options.point_grids or ()]
    scales = (options.crop_n_points_downscale_factor**layer for layer in range(options.crop_n_layers + 1))
    return [_grid(max(1, int(options.points_per_side / scale))) for scale in scales]


def _grid(side: int) -> np.ndarray:
    centres = np.linspace(1 / (2 * side), 1 - 1 / (2 * side), side)
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


def _found(
    segmenter: Segmenter,
    scene: Scene,
    size: tuple[int, int],
    crop: PixelBox,
    grid: np.ndarray,
    options: EverythingOptions,
) -> Iterator[list[Mask]]:
    """The masks of each batch of points in a crop that pass every filter, in pixels of the whole image of `size`."""
    points = grid * scene.frame.size
    for start in range(0, len(points), options.points_per_batch):
        some = points[start : start + options.points_per_batch]
        prediction = segmenter.decode(scene, [_click(x, y) for x, y in some])
        logits, scores = prediction.logits[0].flatten(0, 1), prediction.iou[0].flatten()  # (3N, s, s), (3N,)
        good = (scores > options.pred_iou_thresh) | (options.pred_iou_thresh <= 0)
        rows = good.nonzero()[:, 0].tolist()
        full = (mask for masks in unmap_masks(logits[rows][:, None], scene.frame.placement) for mask in masks[:, 0])
        masks = []
        for row, mask in zip(rows, full, strict=True):
            stability = stability_score(mask, options.stability_score_offset)
            if options.stability_score_thresh <= 0 or bool(stability >= options.stability_score_thresh):
                x, y = some[row // prediction.iou.shape[2]] + crop[:2]
                whole = runs_of(_uncropped(mask > 0, crop, size))
                masks.append(Mask(size, whole, scores[row].item(), _click(x, y), stability.item(), crop))
        yield [mask for mask in masks if not is_cut_off(mask)]


def _click(x: float, y: float) -> MaskPrompt:
    return MaskPrompt(points=((float(x), float(y)),), labels=(FOREGROUND,))


def stability_score(logits: Tensor, offset: float) -> Tensor:
    """IoU of the masks of (..., H, W) logits at thresholds `offset` above and below 0; NaN if both are empty."""
    inner, outer = ((logits > threshold).sum(dim=(-2, -1)) for threshold in (offset, -offset))
    return inner / outer


def _uncropped(part: Tensor, crop: PixelBox, size: tuple[int, int]) -> np.ndarray:
    """A bool (h, w) part of the image in its place in (height, width)."""
    array = np.zeros(size[::-1], bool)
    array[crop[1] : crop[3], crop[0] : crop[2]] = part.cpu().numpy()
    return array


def is_cut_off(mask: Mask) -> bool:
    """Whether the mask comes within EDGE_PIXELS of an edge of its crop that is not an edge of the image."""
    assert mask.crop is not None
    edges = zip(_published_box(mask), mask.crop, (0, 0, *mask.size), strict=True)
    return any(abs(place - cut) <= EDGE_PIXELS < abs(place - end) for place, cut, end in edges)


def _published_box(mask: Mask) -> PixelBox:
    """The first and last column and row of the mask: Meta's boxes hold their right and bottom edge."""
    assert mask.crop is not None
    x1, y1, x2, y2 = mask.box or (*mask.crop[:2], mask.crop[0] + 1, mask.crop[1] + 1)
    return x1, y1, x2 - 1, y2 - 1


def _best(masks: Sequence[Mask], scores: Sequence[float], most: float) -> list[Mask]:
    boxes = np.array([_published_box(mask) for mask in masks], np.float32).reshape(-1, 4)
    return [masks[index] for index in suppress(boxes, np.array(scores, np.float32), most)]


def _tidied(masks: Sequence[Mask], options: EverythingOptions) -> list[Mask]:
    """The masks without small holes and islands; where that makes two alike, one that had none stays."""
    cleared = [without_small_regions(mask.array, options.min_mask_region_area) for mask in masks]
    tidied = [replace(mask, runs=runs_of(array)) for mask, (array, _) in zip(masks, cleared, strict=True)]
    scores = [float(not found) for _, found in cleared]
    return _best(tidied, scores, max(options.box_nms_thresh, options.crop_nms_thresh))
