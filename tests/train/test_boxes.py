"""What is lost where boxes are not known."""

from __future__ import annotations

import math

import pytest
import torch

from folioscope.train.boxes import MARKS, _between_marks, _misplaced

NONE = math.nan


def test_boxes_are_off_by_parts_of_their_own_size() -> None:
    there = torch.tensor([[0.1, 0.1, 0.5, 0.2, 0.3, 0.3], [math.nan] * 4 + [0.3, 0.3], [math.nan] * 6])[None, None]
    said = there.nan_to_num(0.7)

    def loss(place: int) -> float:
        return _misplaced(said + 0.02 * torch.eye(6)[place], there).item()

    assert _misplaced(said, there) == 0
    assert loss(0) == pytest.approx(0.02 / 0.5 / 8)  # eight numbers are known
    assert loss(1) == pytest.approx(0.02 / 0.2 / 8)
    assert loss(5) == pytest.approx(2 * 0.02 / 8)
    asked = said.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_misplaced(asked, there), asked)
    assert gradient.isfinite().all()


def test_a_side_is_put_between_the_marks_around_it() -> None:
    sides = torch.tensor([[0.07, 0.5, 0.999, 1.0], [NONE] * 4])[None, None]
    shares = torch.zeros(4, MARKS)
    for side, marks in enumerate(({7: 1}, {50: 1}, {99: 0.1, 100: 0.9}, {100: 1})):
        for mark, share in marks.items():
            shares[side, mark] = share
    said = torch.zeros(1, 1, 2, 4, MARKS)
    said[0, 0, 0] = shares.clamp_min(1e-9).log()
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9)) / 4
    assert _between_marks(said, sides).item() == pytest.approx(entropy, abs=1e-4)
    said[0, 0, 0, 0] = said[0, 0, 0, 0].roll(1)
    assert _between_marks(said, sides).item() == pytest.approx(entropy - math.log(1e-9) / 4, abs=1e-4)
