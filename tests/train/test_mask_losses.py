"""The losses are least for the right mask, and the best of several counts."""

from __future__ import annotations

import torch

from folioscope.train.mask_losses import dice, iou, mask_losses

TARGET = torch.zeros(1, 1, 8, 8)
TARGET[..., 2:6, 2:6] = 1
RIGHT = TARGET * 20 - 10


def logits(*masks: torch.Tensor) -> torch.Tensor:
    return torch.stack([mask[0] for mask in masks], dim=1)  # (1, M, 8, 8) of (1, 1, 8, 8)


def test_the_right_mask_costs_nothing_and_a_wrong_one_does() -> None:
    estimates = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    good = mask_losses(logits(RIGHT, RIGHT, RIGHT, RIGHT)[None], estimates, TARGET, 20.0)
    bad = mask_losses(logits(-RIGHT, -RIGHT, -RIGHT, -RIGHT)[None], estimates, TARGET, 20.0)
    assert good.focal < 1e-6
    assert good.dice < 1e-3
    assert bad.focal > 5
    assert bad.dice > 1.5
    assert good.single == good.chosen == 1
    assert bad.single == 0


def test_the_best_of_the_masks_for_unclear_prompts_counts_most() -> None:
    estimates = torch.zeros(1, 1, 4)
    one_right = mask_losses(logits(RIGHT, -RIGHT, RIGHT, -RIGHT)[None], estimates, TARGET, 20.0)
    none_right = mask_losses(logits(RIGHT, -RIGHT, -RIGHT, -RIGHT)[None], estimates, TARGET, 20.0)
    assert one_right.dice < 0.25 * none_right.dice


def test_the_mask_estimated_best_is_the_one_measured() -> None:
    estimates = torch.tensor([[[0.0, 0.9, 0.2, 0.1]]])
    losses = mask_losses(logits(RIGHT, -RIGHT, RIGHT, RIGHT)[None], estimates, TARGET, 20.0)
    assert losses.chosen == 0
    assert losses.single == 1
    assert torch.isclose(losses.iou, torch.tensor((1 + 0.81 + 0.64 + 0.81) / 4))


def test_iou_and_dice_of_half_a_mask() -> None:
    half = TARGET.clone()
    half[..., 4:, :] = 0
    assert iou(half[:, :, None] * 2 - 1, TARGET).item() == 0.5
    assert torch.isclose(dice(half, TARGET, (2, 3)), torch.tensor(1 - (2 * 8 + 1) / (8 + 16 + 1)))


def test_what_is_lost_by_the_choice_is_least_where_the_best_mask_is_estimated_best() -> None:
    drawn = logits(RIGHT, -RIGHT, RIGHT, -RIGHT)[None]
    well, ill = torch.tensor([[[0.0, 0.1, 0.9, 0.1]]]), torch.tensor([[[0.0, 0.9, 0.1, 0.1]]])
    well.requires_grad_()
    ill.requires_grad_()
    losses = [mask_losses(drawn, estimates, TARGET, 20.0).choice for estimates in (well, ill)]
    assert losses[0] < 1e-3
    assert losses[1] > 0.99
    torch.stack(losses).sum().backward()
    assert ill.grad is not None
    assert ill.grad[0, 0, 1] > 0 > ill.grad[0, 0, 2]
