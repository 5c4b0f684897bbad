"""A training run in a folder: batches in, weights out, resumable at the step of its last checkpoint."""

from __future__ import annotations

import copy
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from folioscope.train.allocation import freed_memory_kept
from folioscope.train.optimize import Optimizer, average
from folioscope.train.schedule import Recipe
from folioscope.train.speed import counting

STATE = "state.pt"
LOG = "log.jsonl"
SCORES = "scores.jsonl"
MODEL = "model"

UNSAVED = 120.0
"""Seconds after which a run is saved even between its checkpoints: a kill costs no more than these."""

B = TypeVar("B")
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Progress:
    """One line of the log.

    Attributes:
        pixels: Side of the last pictures.
        pictures_per_second: Since the last line, as the other numbers.
        operations_per_second: Of the products in the last step, see `counting`.
        means: Of what the run measures, by name.
    """

    step: int
    steps: int
    pixels: int
    pictures_per_second: float
    operations_per_second: float
    minutes_left: float
    means: Mapping[str, float]

    def line(self) -> dict[str, Any]:
        """As it is logged: in one row."""
        row = asdict(self)
        return {**{name: value for name, value in row.items() if name != "means"}, **row["means"]}


class Training(ABC, Generic[M, B]):
    """A run in a folder: `state.pt` to resume from, `log.jsonl`, and the averaged weights as a checkpoint in `model/`.

    With every checkpoint held-out pictures may be looked at: a line of `scores.jsonl`, and a sheet of them.

    Args:
        recipe: What to learn; a folder may be resumed with another one, say with more steps.
        model: The network, as it starts.
        guides: What is trained beside it and not exported, by name.
    """

    def __init__(self, recipe: Recipe[Any], folder: Path, model: M, guides: Mapping[str, nn.Module]):
        self._recipe, self.folder, self.step = recipe, folder, 0
        self.model, self.averaged = model, copy.deepcopy(model)
        self._saved: dict[str, nn.Module] = {"model": model, **guides, "averaged": self.averaged}
        self.optimizer = Optimizer(model, guides.values(), recipe)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE).exists():
            self._resume()

    @abstractmethod
    def batches(self) -> Dataset[B]:
        """Step number to its batch; a batch depends on nothing but the recipe and its step."""

    @abstractmethod
    def losses(self, batch: B) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss to be lowered, and what is logged."""

    @abstractmethod
    def pictures(self, batch: B) -> Sequence[Tensor]:
        """What the network sees of a batch, (3, S, S) each."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the averaged weights in bfloat16, in the published layout."""

    def look(self) -> Mapping[str, Any]:
        """What comes of held-out pictures with the averaged weights, drawn for a person to see."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to look at; its recipe says looks=0")

    @freed_memory_kept()
    def run(self, report: Callable[[Progress], None], log_every: int = 50, minutes: float = math.inf) -> None:
        """Train to the recipe's end, or for so many minutes, from wherever the folder's last checkpoint stands."""
        self._measured: list[Mapping[str, Tensor]] = []
        self._seen = 0
        self._since = self._saved_at = time.monotonic()
        end = self._since + 60 * minutes
        for batch in self._prepared():
            logs = (self.step + 1) % log_every == 0
            with counting(logs) as counted:
                self._measured.append(self._learn(batch))
            self.step += 1
            pictures = self.pictures(batch)
            self._seen += len(pictures)
            if logs:
                report(self._log(pictures[-1].shape[-1], counted.per_second))
            is_over = time.monotonic() >= end
            self._keep(is_over)
            if is_over:
                return

    def _keep(self, is_over: bool) -> None:
        """Save where it is time to."""
        at_checkpoint = self.step % self._recipe.every == 0 or self.step == self._recipe.steps or is_over
        if at_checkpoint or time.monotonic() - self._saved_at > UNSAVED:
            self.save()
            self._saved_at = time.monotonic()
        if at_checkpoint and self._recipe.looks:
            with (self.folder / SCORES).open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": self.step, **self.look()}) + "\n")

    def _prepared(self) -> Iterator[B]:
        """One worker draws ahead."""
        steps = range(self.step, self._recipe.steps)
        return iter(DataLoader(self.batches(), batch_size=None, sampler=steps, num_workers=1, prefetch_factor=6))

    def _learn(self, batch: B) -> Mapping[str, Tensor]:
        loss, measured = self.losses(batch)
        loss.backward()
        self.optimizer.step(self.step)
        average(self.averaged, self.model, self.step, self._recipe.ema)
        return {name: value.detach() for name, value in measured.items()}

    def _log(self, side: int, operations: float) -> Progress:
        now, count = time.monotonic(), len(self._measured)
        means = {name: float(sum(row[name] for row in self._measured)) / count for name in self._measured[0]}
        seconds = (now - self._since) / count
        left = seconds * (self._recipe.steps - self.step) / 60
        rates = self._seen / (now - self._since), operations
        progress = Progress(self.step, self._recipe.steps, side, *rates, left, means)
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(progress.line()) + "\n")
        self._measured, self._seen, self._since = [], 0, now
        return progress

    def save(self) -> None:
        """Write the state to resume from and the averaged weights as a checkpoint, each whole or not at all."""
        state = {"step": self.step, "optimizer": self.optimizer.state_dict()}
        state |= {name: module.state_dict() for name, module in self._saved.items()}
        partial = self.folder / (STATE + ".part")
        torch.save(state, partial)
        partial.replace(self.folder / STATE)
        self.export(self.folder / MODEL)

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.folder / STATE, weights_only=True)
        self.step = state["step"]
        for name, module in self._saved.items():
            module.load_state_dict(state[name])
        self.optimizer.load_state_dict(state["optimizer"])
