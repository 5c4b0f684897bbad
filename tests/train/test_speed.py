"""Operations of a step: counted as the formulas say, forward and backward."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F

from folioscope.train.speed import counting


def test_products_and_attention_are_counted() -> None:
    x, weight = torch.randn(64, 32, requires_grad=True), torch.randn(48, 32, requires_grad=True)
    q = torch.randn(1, 4, 64, 32, dtype=torch.bfloat16, requires_grad=True)
    with counting(True) as counted:
        start = time.perf_counter()
        F.linear(x, weight).sum().backward()
        F.scaled_dot_product_attention(q, q, q).sum().backward()
        seconds = time.perf_counter() - start
    product, attention = 2 * 64 * 32 * 48, 2 * 4 * 64 * 64 * 32
    expected = 3 * product + 7 * attention  # attention is two products; its backward makes weights once more
    assert counted.per_second * seconds == pytest.approx(expected, rel=0.1)


def test_nothing_is_counted_unasked() -> None:
    with counting(False) as counted:
        torch.mm(torch.ones(2, 2), torch.ones(2, 2))
    assert counted.per_second == 0
