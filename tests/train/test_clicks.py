"""Simulated users click on the object, draw boxes around it, and correct what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from folioscope.model.sam_prompts import BACKGROUND, FOREGROUND
from folioscope.train.clicks import click, corrections, deepest, loose_box, tight_box

RNG = np.random.default_rng(0)


def square(y1: int, x1: int, y2: int, x2: int, side: int = 32) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_clicks_are_on_the_object() -> None:
    mask = square(3, 20, 9, 31)
    places = [click(mask, RNG) for _ in range(50)]
    assert all(mask[int(y), int(x)] for x, y in places)
    assert len(set(places)) > 10


@pytest.mark.parametrize(
    ("mask", "place", "depth"),
    [
        (square(4, 4, 9, 9), (6, 6), 3),
        (square(0, 0, 5, 5), (2, 2), 3),  # the picture's edge ends the object
        (square(4, 4, 9, 9) | square(20, 20, 22, 31), (6, 6), 3),
        (square(0, 0, 0, 0), (0, 0), 0),
    ],
)
def test_the_deepest_point(mask: np.ndarray, place: tuple[int, int], depth: int) -> None:
    assert deepest(mask) == (place, depth)


def test_boxes_are_around_the_object_or_nearly() -> None:
    mask = square(8, 10, 20, 24)
    assert tight_box(mask) == (10, 8, 24, 20)
    boxes = np.array([loose_box(mask, RNG) for _ in range(100)])
    assert np.abs(boxes - [10, 8, 24, 20]).max() <= 20 * 32 / 1024 + 1e-4
    assert len(np.unique(boxes, axis=0)) > 30
    assert ((boxes >= 0) & (boxes <= 32)).all()


def test_corrections_are_where_mask_and_object_differ() -> None:
    truth, drawn = square(4, 4, 12, 12), square(4, 4, 12, 12)
    missed, extra = square(20, 20, 24, 24), square(24, 2, 28, 6)
    targets = torch.from_numpy(np.stack([truth | missed, truth])).float()[None]  # (1, 2, 32, 32)
    logits = torch.from_numpy(np.stack([drawn, drawn | extra])).float()[None] * 2 - 1
    points, labels = corrections(logits, targets, 64, torch.Generator().manual_seed(0))
    assert labels[0, :, 0].tolist() == [FOREGROUND, BACKGROUND]
    for row, region in enumerate((missed, extra)):
        x, y = (int(value) // 2 for value in (points[0, row, 0] + 0.5).tolist())
        assert region[y, x]


def test_without_an_error_the_object_is_clicked_on() -> None:
    truth = torch.from_numpy(square(4, 4, 12, 12)).float()[None, None]
    points, labels = corrections(truth * 2 - 1, truth, 32, torch.Generator().manual_seed(0))
    assert labels.item() == FOREGROUND
    assert ((points >= 3.5) & (points <= 11.5)).all()
