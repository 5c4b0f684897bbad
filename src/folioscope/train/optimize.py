"""Muon for the matrices, AdamW for the rest, one schedule, averaged weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from folioscope.train.muon import Muon
from folioscope.train.schedule import Recipe
from folioscope.types import InputError


class Optimizer:
    """Both optimisers as one. Muon suits hidden matrices; embeddings and heads take AdamW."""

    def __init__(self, model: nn.Module, guides: Iterable[nn.Module], recipe: Recipe[Any]):
        self.recipe = recipe
        matrices = [p for name, p in model.named_parameters() if p.requires_grad and _is_hidden_matrix(name, p)]
        chosen = {id(p) for p in matrices}
        beside = [p for guide in guides for p in guide.parameters()]
        others = [p for p in (*model.parameters(), *beside) if p.requires_grad and id(p) not in chosen]
        decay = recipe.weight_decay
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            self.parts.append(Muon(matrices, lr=recipe.lr, weight_decay=decay))
        if others:
            self.parts.append(torch.optim.AdamW(others, lr=recipe.lr, weight_decay=decay, betas=(0.9, 0.95)))
        self.parameters = [*matrices, *others]

    def step(self, step: int) -> None:
        """Clip the gradients, take step number `step` (0-based), forget the gradients.

        Raises:
            InputError: A gradient is not a number: the weights stay as they are.
        """
        if not torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip).isfinite():
            raise InputError(
                f"step {step + 1}: the gradient is not finite, so the run stops; what it saved last is as it was. "
                "Run it again to go on from there; if it stops at the same step, with a lower rate (--lr, with --data)"
            )
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.recipe.lr * rate(step, self.recipe)
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: Iterable[dict[str, Any]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    at_the_edge = ("lora_", "embed", "head.", "pos_", "gate.weight", "_token.weight", "_tokens.weight")
    return parameter.ndim == 2 and not any(word in name for word in at_the_edge)


def rate(step: int, recipe: Recipe[Any]) -> float:
    """Share of the peak learning rate at `step`: linear up, level, linear down to zero at the end."""
    rising = (step + 1) / recipe.warmup
    falling = (recipe.steps - step) / (recipe.decay * recipe.steps)
    return min(1.0, rising, falling)


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the averaged weights towards the model's; early steps move more, so that the start is soon forgotten."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    pairs = zip(averaged.parameters(), model.parameters(), strict=True)
    for mean, now in pairs:
        mean.lerp_(now, share)


def initialise(model: nn.Module) -> None:
    """Normal 0.02 for matrices, scaled by fan-in for convolutions, as the papers start them."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 4 and "pos_embed" not in name:
            nn.init.kaiming_normal_(parameter, nonlinearity="linear")
        elif parameter.ndim >= 2 or name.endswith(("newline", "separator", "class_embed")):
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
