"""What every recipe has: a curriculum of stages, and how the weights are optimised and averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Stretch(Protocol):
    """A stretch of a curriculum."""

    @property
    def steps(self) -> int: ...


S = TypeVar("S", bound=Stretch)


@dataclass(frozen=True)
class Recipe(Generic[S]):
    """Everything a training run depends on, whatever it trains.

    Attributes:
        stages: The curriculum, in order.
        lr: Peak learning rate of both optimisers (Muon scaled to AdamW's update size).
        warmup: Steps of linear warm-up.
        decay: Share of all steps, at the end, over which the rate falls linearly to zero.
        ema: Decay of the averaged weights that are evaluated and exported.
        every: Steps between checkpoints.
        looks: Held-out pictures that are looked at with every checkpoint.
    """

    stages: tuple[S, ...]
    seed: int = 0
    lr: float = 3e-3
    warmup: int = 200
    decay: float = 0.4
    weight_decay: float = 0.02
    ema: float = 0.998
    clip: float = 1.0
    every: int = 250
    looks: int = 0

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int) -> S:
        """The stage that `step` (0-based) belongs to."""
        return self.stretch(step)[0]

    def stretch(self, step: int) -> tuple[S, int]:
        """The stage that `step` (0-based) belongs to, and which of its steps it is (0-based)."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        return self.stages[-1], step
