"""Prompt, look at the masks, correct, prompt again: the part of a training step behind the image encoder.

Source: Segment Anything (arXiv 2304.02643, appendix A, "Training algorithm").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from folioscope.model.sam import Sam
from folioscope.model.two_way import Trace
from folioscope.train.clicks import corrections
from folioscope.train.mask_losses import MaskLosses, mask_losses
from folioscope.train.precision import mixed_precision
from folioscope.train.scenes import Prompts
from folioscope.train.segmenter_recipe import SegmenterRecipe


def step_generator(recipe: SegmenterRecipe, step: int) -> torch.Generator:
    """The chance of one step, wherever a run resumes."""
    return torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)


def rounds(
    model: Sam,
    embeddings: Tensor,
    prompts: Prompts,
    chances: Sequence[float],
    focal_loss: float,
    generator: torch.Generator,
) -> tuple[list[MaskLosses], list[Tensor]]:
    """Prompt, then correct as often as chance has it.

    Args:
        embeddings: (B, C, h, w).
        chances: Probabilities of one round, two, and so on.

    Returns:
        The losses of each round, and where the decoder's blocks look in the first, see `Trace`.
    """
    count = 1 + int(torch.multinomial(torch.tensor(chances), 1, generator=generator))
    targets, trace = prompts.targets.float() / 255, Trace()
    points, labels, masks, seen = prompts.points, prompts.labels, None, []
    for left in reversed(range(count)):
        with mixed_precision():
            asked = points, labels, prompts.boxes, masks
            logits, estimates = all_masks(model, embeddings, *asked, trace=None if seen else trace)
        seen.append(mask_losses(logits, estimates, targets, focal_loss))
        if left:
            masks = _best(logits, estimates)
            side = embeddings.shape[3] * model.config.vit.patch_size
            clicks, marks = corrections(masks, targets, side, generator)
            points, labels = torch.cat([points, clicks], dim=2), torch.cat([labels, marks], dim=2)
    return seen, trace.maps


def together(seen: Sequence[MaskLosses], recipe: SegmenterRecipe) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The loss of all rounds, and what is logged: the first round, and the IoU after the last."""
    losses = [
        recipe.focal_loss * one.focal + one.dice + recipe.iou_loss * one.iou + recipe.choice_loss * one.choice
        for one in seen
    ]
    measured = {field.name: getattr(seen[0], field.name) for field in fields(MaskLosses)}
    return torch.stack(losses).sum(), {**measured, "last": seen[-1].single}


def all_masks(
    model: Sam,
    embeddings: Tensor,
    points: Tensor,
    labels: Tensor,
    boxes: Tensor | None,
    masks: Tensor | None,
    trace: Trace | None = None,
) -> tuple[Tensor, Tensor]:
    """All masks of every object, the one for clear prompts first, and the estimates of their IoU."""
    grid = (embeddings.shape[2], embeddings.shape[3])
    prompts = model.prompts(points, labels, boxes, masks, grid)
    return model.masks(embeddings, model.prompts.image_positions(grid), prompts, trace=trace)


@torch.no_grad()
def _best(logits: Tensor, estimates: Tensor) -> Tensor:
    """Of the masks (B, N, M, s, s), for each object the one that is estimated best, (B, N, s, s)."""
    best = estimates.argmax(dim=2)[:, :, None, None, None].expand(-1, -1, 1, *logits.shape[3:])
    return logits.detach().float().gather(2, best)[:, :, 0]
