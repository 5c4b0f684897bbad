"""Focal and dice loss of the best mask, and the loss of the estimated IoU.

Source: Segment Anything (arXiv 2304.02643, appendix A, "Making the model ambiguity-aware", "Losses").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_DECIDED = 20.0
"""How sharply estimates decide: one that is 0.1 higher is chosen seven times as often."""

_SHARED = 0.25
"""What all masks for unclear prompts get of the loss of the best one; in the paper it is 0."""


@dataclass(frozen=True)
class MaskLosses:
    """Means over a batch of objects.

    Attributes:
        focal, dice: Of the mask for clear prompts and of the best of the others, together.
        iou: Squared error of the estimates.
        choice: What is lost, in IoU, by choosing among the masks for unclear prompts by their estimates.
        single, chosen: True IoU of the mask for clear prompts, and of that of the others which is estimated best.
    """

    focal: Tensor
    dice: Tensor
    iou: Tensor
    choice: Tensor
    single: Tensor
    chosen: Tensor


def mask_losses(logits: Tensor, estimates: Tensor, targets: Tensor, focal_weight: float) -> MaskLosses:
    """Compare masks with what they should be.

    Args:
        logits: (B, N, M, s, s); number 0 is the mask for clear prompts.
        estimates: (B, N, M), of each mask's IoU.
        targets: (B, N, s, s) float, the share of each pixel that belongs to the object, 0..1.
        focal_weight: In the sum by which the best mask is found.
    """
    x, t = logits.float(), targets[:, :, None]
    p = x.sigmoid()
    focal = (F.binary_cross_entropy_with_logits(x, t.expand_as(x), reduction="none") * (p - t) ** 2).mean((3, 4))
    overlap = dice(p, t, (3, 4))  # (B, N, M)
    best = 1 + (focal_weight * focal + overlap)[:, :, 1:].argmin(dim=2, keepdim=True)
    focal, overlap = (_drawn_together(loss, best) for loss in (focal, overlap))
    true = iou(x, targets)
    estimated_best = 1 + estimates[:, :, 1:].argmax(dim=2, keepdim=True)
    error = F.mse_loss(estimates.float(), true)
    chosen = true.gather(2, estimated_best).mean()
    return MaskLosses(focal, overlap, error, _lost(estimates[:, :, 1:], true[:, :, 1:]), true[:, :, 0].mean(), chosen)


def _lost(estimates: Tensor, true: Tensor) -> Tensor:
    """How far the IoU of masks (B, N, M) chosen by their estimates is from the best of them, on average."""
    shares = (_DECIDED * estimates.float()).softmax(dim=2)
    return (true.amax(dim=2) - (shares * true).sum(dim=2)).mean()


def _drawn_together(losses: Tensor, best: Tensor) -> Tensor:
    """The mask for clear prompts, and the best of the others; all of these count a little, that none is left behind."""
    others = (1 - _SHARED) * losses.gather(2, best).mean() + _SHARED * losses[:, :, 1:].mean()
    return losses[:, :, 0].mean() + others


def dice(drawn: Tensor, wanted: Tensor, axes: tuple[int, ...]) -> Tensor:
    """1 less the overlap of shares 0..1, over these axes."""
    return 1 - (2 * (drawn * wanted).sum(axes) + 1) / (drawn.sum(axes) + wanted.sum(axes) + 1)


@torch.no_grad()
def iou(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, N, M) IoU of thresholded masks (B, N, M, s, s) with thresholded targets (B, N, s, s)."""
    drawn, wanted = logits > 0, (targets > 0.5)[:, :, None]
    return (drawn & wanted).sum((3, 4)) / (drawn | wanted).sum((3, 4)).clamp(min=1)
