"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): momentum with singular values made alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from folioscope.train.precision import training_dtype

_STEPS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Newton-Schulz: x -> a x + b (x xᵀ) x + c (x xᵀ)² x, steepest at 0; singular values end between 0.7 and 1.2."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, for matrices.

    As `torch.optim.Muon`, whose products are of bfloat16 everywhere, in `training_dtype`: where a CPU has no
    instructions for bfloat16, these took a fifth of a step. Rates are scaled to AdamW's updates (0.2 * sqrt of the
    longer side, Liu et al. 2025, https://arxiv.org/abs/2502.16982), so that one schedule suits both.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.95):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take a step; matrices without a gradient stay as they are."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._turn(matrix, matrix.grad, group)

    def _turn(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        kept = state["momentum_buffer"]
        kept.lerp_(gradient, 1 - group["momentum"])
        update = orthogonal(gradient.lerp(kept, group["momentum"]))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-0.2 * max(matrix.shape) ** 0.5 * group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """About U Vᵀ of a matrix U S Vᵀ, in `training_dtype` of its device."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide.to(training_dtype(matrix.device.type))
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = _QUINTIC
    for _ in range(_STEPS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if wide is matrix else x.T
