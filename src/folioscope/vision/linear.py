"""Linear layers with weights laid out once as oneDNN's matrix product likes them, in floats or integers."""

from __future__ import annotations

from functools import cache
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope.native import vision as native
from folioscope.native.memory import give_back
from folioscope.native.vision import Activation

Kind = Literal["int8"]

LEVELS = 127
ZERO = 128
"""What stands for 0 in bytes without a sign."""


class Layer(Protocol):
    """A linear layer and what stands around it."""

    bias: Tensor

    def __call__(
        self, x: Tensor, norm: nn.LayerNorm | None = None, act: Activation = "none", add: Tensor | None = None
    ) -> Tensor:
        """(…, outputs) of x (…, inputs): the layer of `norm` of x, then `act`, then plus `add`."""
        ...


def packed(linear: nn.Linear, rows: int, kind: Kind | None = None) -> Layer:
    """The layer, its weights laid out for about so many rows at a time.

    What a mapped file's weight was laid out from stays there, but not in memory as well.
    """
    layer = Integers(linear, rows) if kind == "int8" else Floats(linear, rows)
    give_back(linear.weight.detach())
    return layer


@cache
def packs() -> bool:
    """Whether torch can lay out weights and multiply with them here."""
    try:
        Floats(nn.Linear(16, 16), rows=16)(torch.zeros(16, 16))
    except (AttributeError, NotImplementedError, RuntimeError):  # no oneDNN in this build, or none for this processor
        return False
    return True


@cache
def multiplies_integers() -> bool:
    """Whether oneDNN multiplies bytes here exactly: without VNNI it adds two products in 16 bits, which overflow."""
    try:
        return bool(torch.cpu._is_vnni_supported()) and hasattr(torch.ops.onednn, "qlinear_pointwise")
    except AttributeError:
        return False


@cache
def widens(dtype: torch.dtype) -> bool:
    """Whether weights of this dtype are better multiplied in float32: this processor has no instructions for them."""
    return dtype != torch.float32 and not (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Floats:
    """Computes in the dtype of the weight; the exact GELU and the addition happen within the product."""

    def __init__(self, linear: nn.Linear, rows: int):
        self.bias = linear.bias.detach()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)

    def __call__(
        self, x: Tensor, norm: nn.LayerNorm | None = None, act: Activation = "none", add: Tensor | None = None
    ) -> Tensor:
        x = x if norm is None else norm(x)
        if add is not None:
            assert act == "none"
            return torch.ops.mkldnn._linear_pointwise.binary(x, add, self.weight, self.bias, "add")
        fused = "gelu" if act == "gelu" else "none"
        x = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, fused, [], "none")
        return x.mul_(torch.sigmoid(1.702 * x)) if act == "quick_gelu" else x


class Integers:
    """Computes in int8: a scale for each output of the weight, and one for each row of the input, found as it comes.

    The product is bfloat16, its scale for the row still missing.
    """

    def __init__(self, linear: nn.Linear, rows: int):
        weight = linear.weight.detach().float()
        largest = weight.abs().amax(dim=1)
        self.scales = torch.where(largest > 0, largest, 1) / LEVELS  # (N,)
        integers = (weight / self.scales[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(integers, [rows, weight.shape[1]])
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.bias = linear.bias.detach()

    def __call__(
        self, x: Tensor, norm: nn.LayerNorm | None = None, act: Activation = "none", add: Tensor | None = None
    ) -> Tensor:
        integers, scales = _quantised(x, norm)
        weight = (self.weight, self.scales, self.zeros)
        asked = (None, 1.0, 0, torch.bfloat16, "none", [], "none")  # no bias; the output's scale, dtype and activation
        product = torch.ops.onednn.qlinear_pointwise(integers, 1.0, ZERO, *weight, *asked)
        return _rescaled(product, scales, self.bias, act, add)


def _quantised(x: Tensor, norm: nn.LayerNorm | None) -> tuple[Tensor, Tensor]:
    """Bytes like x, and scales (rows,) float32."""
    if native.rows(x):
        return native.quantise_rows(x, norm and (norm.weight, norm.bias, norm.eps))
    x = (
        x.float()
        if norm is None
        else F.layer_norm(x.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
    )
    scales = x.abs().amax(dim=-1, keepdim=True) / LEVELS
    integers = (x / torch.where(scales > 0, scales, 1)).round_().add_(ZERO).to(torch.uint8)
    return integers, scales.flatten()


def _rescaled(x: Tensor, scales: Tensor, bias: Tensor, act: Activation, add: Tensor | None) -> Tensor:
    if native.rows(x):
        return native.rescale_rows(x, scales, bias, act, add)
    x = x.float() * scales.view(*x.shape[:-1], 1) + bias
    if act != "none":
        x = F.gelu(x) if act == "gelu" else x * torch.sigmoid(1.702 * x)
    return (x if add is None else x + add).to(bias.dtype)
