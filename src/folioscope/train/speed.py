"""How fast a training step computes: the products that it cannot do without, over the time it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, ...]


def _attention(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(q, k, v)


def _attention_backward(gradient: Shape, q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, q, k, v)


_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Operators of a CPU that torch's counter does not know. As it does elsewhere, causal attention counts in full."""


@dataclass
class Counted:
    """Operations a second, two for each multiplication and addition; 0 where they were not asked for."""

    per_second: float = 0.0


@contextmanager
def counting(wanted: bool) -> Iterator[Counted]:
    """Count the products of what happens within, forward and backward."""
    counted = Counted()
    if not wanted:
        yield counted
        return
    counter, start = FlopCounterMode(display=False, custom_mapping=_ON_CPU), time.perf_counter()
    with counter:
        yield counted
    counted.per_second = counter.get_total_flops() / (time.perf_counter() - start)
