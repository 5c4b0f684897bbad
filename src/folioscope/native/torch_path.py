"""The products of `folioscope.native` in PyTorch, for where the kernels are not: the same numbers from stock operators.

int8 has the same integers as the kernels: activations are rounded here, and fbgemm (x86) or `_int_mm` multiply.
int4 multiplies by bfloat16 activations, which `_weight_int4pack_mm_for_cpu` does, in place of rounding them.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from folioscope.native import Weight
from folioscope.native.layout import GROUP, integers, padded

LEVELS = torch.tensor(127.0)
LEAST = 1e-30
"""In place of a row's largest value if that is 0."""


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
    """One weight, prepared for stock operators; holds no part of what it was made from."""

    def __init__(self, weight: Weight):
        self.kind, self.rows, self.columns = weight.kind, weight.rows, weight.columns
        self.wide = padded(weight.rows, weight.columns)
        self.packed: Any
        assert weight.scale is not None
        if weight.kind == "int4":
            unit = weight.scale.transpose(1, 2).flatten(0, 1)  # (N, K/32)
            scales = torch.stack((unit, torch.zeros_like(unit)), dim=2).transpose(0, 1).contiguous()  # (K/32, N, 2)
            whole = integers(weight.data, "int4").int() + 8
            self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 1), scales
            return
        whole, self.scale = integers(weight.data, "int8"), weight.scale.clone()
        if uses_fbgemm():
            zeros = torch.zeros(len(whole), dtype=torch.int64)
            with warnings.catch_warnings():  # of the tensor's kind, whose end is announced; `_int_mm` is there then
                warnings.simplefilter("ignore")
                per_row = torch._make_per_channel_quantized_tensor(  # pyright: ignore[reportPrivateImportUsage]
                    whole, self.scale.double(), zeros, 0
                )
            self.packed = torch.ops.quantized.linear_prepack(per_row, None)
        else:
            self.packed = whole.T.contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """(R, rows) float32 of x (R, columns)."""
        return self.times(self.prepared(x))

    def prepared(self, x: Tensor) -> Inputs:
        """x (R, columns) as every product of this kind and so many columns takes it."""
        x = x.float()
        if self.wide[1] != self.columns:
            x = F.pad(x, (0, self.wide[1] - self.columns))
        if self.kind == "int4":
            return Inputs(x.bfloat16(), x)
        most = x.abs().amax(dim=1, keepdim=True).clamp_(min=LEAST)  # (R, 1)
        return Inputs((x * (LEVELS / most)).round_(), most / LEVELS)

    def times(self, inputs: Inputs) -> Tensor:
        """(R, rows) float32 of R inputs."""
        out = self._int4(inputs) if self.kind == "int4" else self._int8(inputs)
        return out if self.wide[0] == self.rows else out[:, : self.rows]

    def _int8(self, inputs: Inputs) -> Tensor:
        if uses_fbgemm():
            dequantised = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
            return dequantised(inputs.values, 1.0, 128, self.packed).mul_(inputs.unit)
        return torch.ops.aten._int_mm(inputs.values.to(torch.int8), self.packed).float() * (inputs.unit * self.scale)

    def _int4(self, inputs: Inputs) -> Tensor:
        return torch.ops.aten._weight_int4pack_mm_for_cpu(inputs.values, self.packed[0], GROUP, self.packed[1]).float()


@cache
def uses_fbgemm() -> bool:
    """Whether fbgemm multiplies bytes exactly here: without VNNI it adds two products in 16 bits, which overflow."""
    return "fbgemm" in torch.backends.quantized.supported_engines and torch.cpu._is_vnni_supported()
