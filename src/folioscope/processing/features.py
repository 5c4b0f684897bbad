"""What a processor returns: the tensors a published model is called with, under their published names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class BatchFeature(dict[str, Any]):
    """Named tensors (or arrays, or lists): `inputs["x"]`, `inputs.x`, and `**inputs` in a model's call."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, *args: Any, **kwargs: Any) -> BatchFeature:
        """Move every tensor to a device, and the floating-point ones to a dtype; arguments as of `Tensor.to`."""
        for name, tensor in self.items():
            if not isinstance(tensor, Tensor):
                continue
            changed = tensor if tensor.is_floating_point() else tensor.new_empty(0, dtype=torch.float32)
            changed = changed.to(*args, **kwargs)
            self[name] = changed if tensor.is_floating_point() else tensor.to(changed.device)
        return self
