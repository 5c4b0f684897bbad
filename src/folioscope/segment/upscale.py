"""Low-resolution logits → masks at the image's size, a few at a time, whatever the image's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from folioscope.masks import Mask, MaskPrompt, runs_of
from folioscope.views import SamFrame, unmap_masks

UPSCALED_BYTES = 256_000_000
"""Of full-size float32 logits at once, unless one mask alone has more (an image above 64 megapixels)."""


def upscaled(logits: Tensor, frame: SamFrame) -> Iterator[Tensor]:
    """(K, s, s) logits of a square as float32 (k, H, W) of its image, again and again until all K are done."""
    pixels = max(frame.size[0] * frame.size[1], frame.side**2)
    for some in logits.split(max(1, UPSCALED_BYTES // (4 * pixels))):
        yield unmap_masks(some, frame)


def masks_of(logits: Tensor, scores: Tensor, prompts: Sequence[MaskPrompt], frame: SamFrame) -> list[list[Mask]]:
    """M masks for each of N prompts, from (N, M, s, s) logits and (N, M) scores."""
    runs = [
        runs_of(array) for full in upscaled(logits.flatten(0, 1), frame) for array in (full > 0).cpu().numpy()
    ]  # N * M
    rows = zip(prompts, logits.float().cpu().numpy(), scores.tolist(), strict=True)
    unclaimed = iter(runs)
    return [
        [_mask(next(unclaimed), low.copy(), score, prompt, frame) for low, score in zip(lows, row, strict=True)]
        for prompt, lows, row in rows
    ]


def _mask(runs: bytes, low: np.ndarray, score: float, prompt: MaskPrompt, frame: SamFrame) -> Mask:
    return Mask(frame.size, runs, score, prompt, low_logits=low, upscaled=partial(_full, low, frame))


def _full(low: np.ndarray, frame: SamFrame) -> np.ndarray:
    return unmap_masks(torch.from_numpy(low)[None], frame)[0].numpy()
