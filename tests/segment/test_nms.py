"""Of boxes that overlap, the best."""

from __future__ import annotations

import numpy as np
import pytest

from folioscope.segment.nms import suppress


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_the_better_of_two_stays() -> None:
    pair = boxes((0, 0, 10, 10), (0, 0, 10, 9), (20, 20, 30, 30))
    assert suppress(pair, np.array([0.5, 0.9, 0.7]), 0.7) == [1, 2]


def test_an_overlap_of_just_the_threshold_stays() -> None:
    pair = boxes((0, 0, 10, 10), (0, 0, 10, 5))
    assert suppress(pair, np.array([1.0, 1.0]), 0.5) == [0, 1]
    assert suppress(pair, np.array([1.0, 1.0]), 0.499) == [0]


def test_what_is_suppressed_suppresses_nothing() -> None:
    row = boxes((0, 0, 10, 1), (3, 0, 13, 1), (6, 0, 16, 1))  # neighbours' IoU 7/13, the others' 4/16
    assert suppress(row, np.array([3.0, 2.0, 1.0]), 0.5) == [0, 2]


@pytest.mark.parametrize("count", [0, 1])
def test_few(count: int) -> None:
    assert suppress(boxes(*[(0, 0, 1, 1)] * count), np.ones(count), 0.5) == list(range(count))


def test_empty_boxes_stay() -> None:
    assert suppress(boxes((1, 1, 1, 1), (1, 1, 1, 1)), np.ones(2), 0.5) == [0, 1]


def test_against_every_pair() -> None:
    """The set that is kept is the one the definition gives."""
    random = np.random.default_rng(0)
    low = random.integers(0, 30, (200, 2))
    some = np.concatenate([low, low + random.integers(1, 20, (200, 2))], axis=1).astype(np.float32)
    scores = random.integers(0, 5, 200).astype(np.float32)
    kept: list[int] = []
    for index in sorted(range(200), key=lambda index: -scores[index]):
        if all(iou(some[index], some[other]) <= 0.4 for other in kept):
            kept.append(index)
    assert suppress(some, scores, 0.4) == kept


def iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    areas = [float(np.prod(box[2:] - box[:2])) for box in (a, b)]
    return float(sides.prod()) / (sum(areas) - float(sides.prod()))
