"""Linear layers of packed weights, and how a module multiplies with several of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from folioscope import native
from folioscope.model.decoder import RMSNorm
from folioscope.native.bags import Chosen
from folioscope.native.layout import Kind, pack, packed_shapes, unpacked
from folioscope.native.memory import Arena
from folioscope.native.torch_path import Product


class PackedLinear(nn.Module):
    """A linear layer without bias, of integer weights that lie as the kernels read them.

    Attributes:
        kind: "int8" or "int4".
        weight, scale: See `folioscope.native.layout`.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, kind: Kind, inputs: int, outputs: int, weight: Tensor, scale: Tensor):
        super().__init__()
        self.kind: Kind = kind
        self.in_features, self.out_features = inputs, outputs
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self._product: Product | None = None

    @classmethod
    def of(cls, linear: nn.Linear, kind: Kind, arena: Arena) -> PackedLinear:
        """The layer with its weight quantised, into the arena; on the meta device, with the shapes it will have."""
        assert linear.bias is None
        weight = linear.weight.detach()
        outputs, inputs = weight.shape
        shapes = packed_shapes(kind, outputs, inputs)
        dtypes = torch.uint8, torch.float32 if kind == "int8" else torch.bfloat16
        if weight.is_meta:
            data, scale = (torch.empty(shapes[i], dtype=dtypes[i], device="meta") for i in (0, 1))
        elif native.available():
            data, scale = map(arena.empty, shapes, dtypes)
            weight = weight if weight.dtype == torch.bfloat16 else weight.float()
            native.pack(weight.contiguous(), kind, data, scale)
        else:
            data, scale = pack(weight, kind)
        return cls(kind, inputs, outputs, data, scale)

    @property
    def packed(self) -> native.Weight:
        return native.Weight(self.kind, self.out_features, self.in_features, self.weight, self.scale)

    def move(self, arena: Arena) -> None:
        """Where the kernels will read them: weight and scale go from a mapped file into the arena."""
        if native.available():
            self.weight, self.scale = arena.moved(self.weight), arena.moved(self.scale)

    def settle(self) -> None:
        """Without the kernels: what stock operators need takes the place of the weight, unless it has been taken."""
        if is_stock(self) and self._product is None and len(self.weight):
            self._product = Product(self.taken())

    def taken(self) -> native.Weight:
        """The weight, which this layer then has no more: what it was laid out for multiplies in its place."""
        packed = self.packed
        self.weight = self.scale = torch.empty(0)
        return packed

    def widened(self) -> Tensor:
        """The weight (outputs, inputs) float32 that this layer multiplies with."""
        return unpacked(self.weight, self.scale, self.kind, self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) to (…, outputs) float32."""
        if runs_natively(self, x):
            return native.linear(native.Bank([self.packed]), x)
        self.settle()
        if self._product is None:
            return F.linear(x.float(), self.widened())
        return self._product(x.flatten(0, -2)).unflatten(0, x.shape[:-1])

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, kind={self.kind}"


class BFloat16Linear(nn.Linear):
    """A linear layer whose weight stays as checkpoints have it; in and out are float32."""

    @property
    def packed(self) -> native.Weight:
        return native.Weight("bfloat16", self.out_features, self.in_features, self.weight.detach())

    def forward(self, input: Tensor) -> Tensor:
        if runs_natively(self, input):
            return native.linear(native.Bank([self.packed]), input)
        return super().forward(input.to(self.weight.dtype)).float()


def runs_natively(layer: nn.Module, x: Tensor) -> bool:
    """Whether the kernels can multiply x with this layer's weight."""
    fits = layer.weight.dtype in (torch.uint8, torch.bfloat16) or isinstance(layer, RMSNorm)
    return fits and x.device.type == "cpu" and native.available() and not (x.requires_grad and torch.is_grad_enabled())


def is_stock(layer: nn.Module) -> bool:
    """Whether stock operators multiply with this layer's integers, since there are no kernels."""
    return isinstance(layer, PackedLinear) and not native.available()


class Banked(nn.Module):
    """A module that multiplies with several of its weights at a time.

    For the kernels it keeps the weights' addresses, until they change; for stock operators the weights themselves, laid
    out side by side.
    """

    _banks: dict[str, native.Bank] | None = None
    _products: dict[str, Product | Chosen] | None = None

    def bank(self, name: str, *layers: nn.Module) -> native.Bank:
        if self._banks is None:
            self._banks = {}
        if name not in self._banks:
            self._banks[name] = native.Bank([layer.packed for layer in layers])  # pyright: ignore
        return self._banks[name]

    @property
    def is_laid_out(self) -> bool:
        """Whether stock operators multiply with its weights."""
        return bool(self._products)

    def settle(self) -> None:
        """Lay out for stock operators what they are to multiply with, if there are no kernels."""

    def lay_out(self, name: str, *layers: Any) -> None:
        """Without the kernels: what stock operators need takes the place of the layers' weights, unless it has."""
        self._products = self._products or {}
        if is_stock(layers[0]) and name not in self._products:
            self._products[name] = Product(*(layer.taken() for layer in layers))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self._banks = None  # the weights move
        return super()._apply(fn, recurse)
