"""The products of `folioscope.native` in PyTorch, for where the kernels are not: the same numbers from stock operators.

int8 has the same integers as the kernels: activations are rounded here, and fbgemm (x86) or `_int_mm` multiply.
int4 multiplies by bfloat16 activations, which `_weight_int4pack_mm_for_cpu` does, in place of rounding them.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from folioscope.native import Weight
from folioscope.native.layout import GROUP, integers, padded

FEW = 16
"""Rows from which an int4 weight is widened once for all of them."""


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
        x = F.pad(x.float(), (0, self.wide[1] - self.columns))
        return (self._int4(x) if self.kind == "int4" else self._int8(x))[:, : self.rows]

    def _int8(self, x: Tensor) -> Tensor:
        most = x.abs().amax(dim=1, keepdim=True)  # (R, 1)
        levels = torch.where(most > 0, 127 / most, 0)
        whole = (x * levels).round()  # integers of -127..127
        if uses_fbgemm():
            dequantised = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
            return dequantised(whole, 1.0, 128, self.packed) * (most / 127)
        return torch.ops.aten._int_mm(whole.to(torch.int8), self.packed).float() * (most / 127 * self.scale)

    def _int4(self, x: Tensor) -> Tensor:
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16(), self.packed[0], GROUP, self.packed[1]).float()


def uses_fbgemm() -> bool:
    """Whether fbgemm multiplies bytes exactly here: without VNNI it adds two products in 16 bits, which overflow."""
    return "fbgemm" in torch.backends.quantized.supported_engines and torch.cpu._is_vnni_supported()
