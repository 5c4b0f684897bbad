"""Of masks that overlap much, the best."""

from __future__ import annotations

import numpy as np


def suppress(boxes: np.ndarray, scores: np.ndarray, most: float) -> list[int]:
    """Indices of the boxes to keep, best score first: none has an IoU above `most` with a better one that is kept.

    Args:
        boxes: float32 (K, 4), x1, y1, x2, y2; their area is (x2 - x1) (y2 - y1), as torchvision's `nms` has it.
        scores: (K,); of equal ones, the first is the better.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        with np.errstate(invalid="ignore"):  # two empty boxes overlap 0 / 0, which is not much
            iou = shared / (areas[best] + areas[order] - shared)
        order = order[~(iou.astype(np.float64) > most)]
    return kept
