"""The products of `folioscope.native` in PyTorch, for where the kernels are not: the same numbers from stock operators.

int8 has the same integers as the kernels: activations are rounded here, and fbgemm (x86) or `_int_mm` multiply.
int4 multiplies by bfloat16 activations, which `_weight_int4pack_mm_for_cpu` does, in place of rounding them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from folioscope.native import Weight
from folioscope.native.layout import GROUP, integers, padded
from folioscope.native.memory import give_back

LEVELS = torch.tensor(127.0)
LEAST = 1e-30
"""In place of a row's largest value if that is 0."""


CONVERTED = 400_000
"""Keys or values that are converted at a time: of 300 positions of ten heads of 128."""


WORTH_WAKING = 3_500_000
"""Bytes of weights: of less, one thread has read them all by the time that another is awake and has read its half."""

_hands: ContextVar[int] = ContextVar("threads of products, where everything else has one", default=0)


@contextmanager
def alone_but_for_products() -> Iterator[None]:
    """One thread for all operators inside but products. For one row the others are small.

    To wake a thread that sleeps takes longer than what it would do of them, and one that waits awake takes the time of
    whatever else runs on its core.
    """
    count = torch.get_num_threads()
    token = _hands.set(count)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
        _hands.reset(token)


def product(size: int, operator: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """What a product's operator gives that reads so many bytes of weights, with the threads that products have."""
    count = _hands.get()
    if not count or size < WORTH_WAKING:
        return operator(*arguments)
    torch.set_num_threads(count)
    try:
        return operator(*arguments)
    finally:
        torch.set_num_threads(1)


class Inputs(NamedTuple):
    """Rows of activations, ready to be multiplied by any weight of one kind and width.

    Attributes:
        values: (R, K): for int8 the integers -127..127, in floats; for int4 bfloat16.
        unit: (R, 1) what such an integer stands for; of no use to int4.
    """

    values: Tensor
    unit: Tensor

    def rows(self) -> list[Inputs]:
        """Each row by itself."""
        return [Inputs(*parts) for parts in zip(self.values.split(1), self.unit.split(1), strict=True)]


class Product:
    """Weights of one kind and width side by side, for stock operators; holds no part of what they were made from."""

    def __init__(self, *weights: Weight):
        self.kind = weights[0].kind
        self.rows = [weight.rows for weight in weights]
        self.size = sum(weight.data.nbytes for weight in weights)
        self.packed: Any
        if self.kind == "int4":
            self._pack_int4(weights)
        else:
            self._pack_int8(weights)
        for weight in weights:
            give_back(weight.data)

    def _pack_int4(self, weights: Sequence[Weight]) -> None:
        self.wide = [padded(weight.rows, weight.columns)[0] for weight in weights]
        unit = torch.cat([_scale(weight).transpose(1, 2).flatten(0, 1) for weight in weights])  # (N, K/32)
        scales = torch.stack((unit, torch.zeros_like(unit)), dim=2).transpose(0, 1).contiguous()  # (K/32, N, 2)
        whole = torch.cat([integers(weight.data, "int4") for weight in weights]).int() + 8  # (N, K)
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 1), scales

    def _pack_int8(self, weights: Sequence[Weight]) -> None:
        self.wide = self.rows
        whole = torch.cat([integers(weight.data, "int8")[: weight.rows] for weight in weights])  # (N, K)
        self.scale = torch.cat([_scale(weight)[: weight.rows] for weight in weights])
        if not uses_fbgemm():
            self.packed = whole.T.contiguous()
            return
        zeros = torch.zeros(len(whole), dtype=torch.int64)
        with warnings.catch_warnings():  # of the tensor's kind, whose end is announced; `_int_mm` is there then
            warnings.simplefilter("ignore")
            per_row = torch._make_per_channel_quantized_tensor(  # pyright: ignore[reportPrivateImportUsage]
                whole, self.scale.double(), zeros, 0
            )
        self.packed = torch.ops.quantized.linear_prepack(per_row, None)

    def __call__(self, x: Tensor) -> Tensor:
        """(R, rows of all weights) float32 of x (R, columns)."""
        return self.times(self.prepared(x))

    def prepared(self, x: Tensor) -> Inputs:
        """x (R, columns) as every product of this kind and so many columns takes it."""
        return rounded(x) if self.kind == "int8" else Inputs(_widened(x).bfloat16(), x)

    def times(self, inputs: Inputs) -> Tensor:
        """(R, rows of all weights) float32 of R inputs."""
        out = self._int4(inputs) if self.kind == "int4" else self._int8(inputs)
        if self.wide == self.rows:
            return out
        parts = zip(out.split(self.wide, dim=1), self.rows, strict=True)
        return torch.cat([part[:, :rows] for part, rows in parts], dim=1)

    def _int8(self, inputs: Inputs) -> Tensor:
        if uses_fbgemm():
            dequantised = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
            return product(self.size, dequantised, inputs.values, 1.0, 128, self.packed).mul_(inputs.unit)
        sums = product(self.size, torch.ops.aten._int_mm, inputs.values.to(torch.int8), self.packed)
        return sums.float() * (inputs.unit * self.scale)

    def _int4(self, inputs: Inputs) -> Tensor:
        packed, scales = self.packed
        operator = torch.ops.aten._weight_int4pack_mm_for_cpu
        return product(self.size, operator, inputs.values, packed, GROUP, scales).float()


def rounded(x: Tensor) -> Inputs:
    """x (R, K) in integers, each row with a unit of its own; K padded as weights are."""
    x = _widened(x)
    most = x.abs().amax(dim=1, keepdim=True).clamp_min_(LEAST)  # (R, 1)
    return Inputs((x * (LEVELS / most)).round_(), most / LEVELS)


def _widened(x: Tensor) -> Tensor:
    """x (R, columns) float32 with as many columns as weights are stored with."""
    columns = padded(1, x.shape[1])[1]
    return x.float() if columns == x.shape[1] else F.pad(x.float(), (0, columns - x.shape[1]))


def attend(q: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """(B, heads, 1, hd) float32: attention of one query a row, over keys and values of any dtype.

    Stock operators want them in the query's dtype. A few positions at a time are converted: those stay in the cache.

    Args:
        q: (B, heads, 1, hd) float32.
        keys, values: (B, key heads, seen, hd).
        visible: (B, 1, 1, seen) bool; None if all is seen.
    """
    own = q.unflatten(1, (keys.shape[1], -1))[:, :, :, 0] * q.shape[3] ** -0.5  # (B, key heads, group, hd)
    count = max(1, CONVERTED // keys[:, :, 0].numel())
    parts = [own @ part.float().mT for part in keys.split(count, dim=2)]
    scores = torch.cat(parts, dim=3)  # (B, key heads, group, seen)
    if visible is not None:
        scores.masked_fill_(~visible, -math.inf)
    weights = scores.softmax(dim=3).split(count, dim=3)
    mixed = [part @ seen.float() for part, seen in zip(weights, values.split(count, dim=2), strict=True)]
    return (mixed[0] if len(mixed) == 1 else torch.stack(mixed).sum(dim=0)).view(q.shape)


def _scale(weight: Weight) -> Tensor:
    assert weight.scale is not None
    return weight.scale


@cache
def uses_bags() -> bool:
    """Whether `embedding_bag` of bytes is fbgemm's, which multiplies in floats and needs no VNNI."""
    return "fbgemm" in torch.backends.quantized.supported_engines


@cache
def uses_fbgemm() -> bool:
    """Whether fbgemm multiplies bytes exactly here: without VNNI it adds two products in 16 bits, which overflow."""
    return uses_bags() and torch.cpu._is_vnni_supported()
