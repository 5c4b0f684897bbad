"""Low-resolution logits → masks that keep their runs and can be had in full."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from folioscope.masks import Mask, MaskPrompt, runs_of
from folioscope.model.sam import Prediction
from folioscope.views import SamFrame, unmap_masks


def best(prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Of N objects, the masks with the highest scores: (N, 1, s, s) logits, (N, 1) scores. Of equals the first."""
    logits, iou = prediction.logits[0], prediction.iou[0]  # (N, M, s, s), (N, M)
    chosen = iou.argmax(dim=1, keepdim=True)
    return logits.take_along_dim(chosen[..., None, None], dim=1), iou.take_along_dim(chosen, dim=1)


def masks_of(logits: Tensor, scores: Tensor, prompts: Sequence[MaskPrompt], frame: SamFrame) -> list[list[Mask]]:
    """M masks for each of N prompts, from (N, M, s, s) logits and (N, M) scores."""
    photos = (photo for some in unmap_masks(logits, frame.placement) for photo in some.flatten(0, 1) > 0)
    runs = [runs_of(photo.cpu().numpy()) for photo in photos]  # N * M
    rows = zip(prompts, logits.float().cpu().numpy(), scores.tolist(), strict=True)
    unclaimed = iter(runs)
    return [
        [_mask(next(unclaimed), low.copy(), score, prompt, frame) for low, score in zip(lows, row, strict=True)]
        for prompt, lows, row in rows
    ]


def _mask(runs: bytes, low: np.ndarray, score: float, prompt: MaskPrompt, frame: SamFrame) -> Mask:
    return Mask(frame.size, runs, score, prompt, low_logits=low, upscaled=partial(_full, low, frame))


def _full(low: np.ndarray, frame: SamFrame) -> np.ndarray:
    return next(unmap_masks(torch.from_numpy(low)[None, None], frame.placement))[0, 0].numpy()
