"""When a module's quick path runs, and what it keeps for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from folioscope.vision.linear import Kind, widens

Packed = TypeVar("Packed")


def runs_plain(module: nn.Module, x: Tensor) -> bool:
    """Whether the plain forward is what is wanted: for gradients, elsewhere than on the CPU, or for its graph."""
    if x.device.type != "cpu" or torch._C._get_tracing_state() is not None or torch.compiler.is_compiling():
        return True
    return torch.is_grad_enabled() and (x.requires_grad or any(weight.requires_grad for weight in module.parameters()))


def prepared(module: nn.Module, make: Callable[[], Packed]) -> Packed:
    """What `make` made of the module's weights, made again if they are not the same any more."""
    state: Any = vars(module)
    seen = [_version(weight) for weight in module.parameters()]
    if state.get("_seen") != seen:
        state["_packed"], state["_seen"] = make(), seen
    return state["_packed"]


def _version(weight: Tensor) -> Sequence[object]:
    changes = 0 if weight.is_inference() else weight._version
    return weight.data_ptr(), weight.dtype, changes


class Forgetful(nn.Module):
    """A module whose copies prepare their own weights: what oneDNN laid out cannot be copied or stored."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_packed", "_seen")}


class Encoder(Forgetful):
    """An image encoder of which `steps` makes what its `forward` does, on weights laid out; mixed in before its class.

    Attributes:
        steps: Of the module, its weights in the dtype to compute in, and of the kind of integers or None.
    """

    steps: ClassVar[Callable[[Any, Kind | None], Callable[[Tensor], Tensor]]]
    kind: Kind | None
    pos_embed: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if runs_plain(self, x) else prepared(self, self._made)(x)

    def _made(self) -> Callable[[Tensor], Tensor]:
        dtype = self.pos_embed.dtype
        computed = torch.float32 if widens(dtype) else dtype
        module = self if computed == dtype else deepcopy(self).to(computed)
        steps = type(self).steps(module, self.kind if dtype == torch.bfloat16 else None)
        return lambda x: steps(x.to(computed)).to(dtype)
