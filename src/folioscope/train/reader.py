"""Train the reader: batches in, weights out, resumable at the step of its last checkpoint."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from folioscope.config import OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import Tokenizer
from folioscope.train.guides import Guides, Losses
from folioscope.train.optimize import Optimizer, average, initialise
from folioscope.train.recipe import EMBEDDED_CONFIG, ReaderRecipe
from folioscope.train.samples import Batch, PageBatches
from folioscope.train.vocabulary import save_tokenizer
from folioscope.weights import load_ocr, save_ocr

STATE = "state.pt"
LOG = "log.jsonl"
MODEL = "model"


@dataclass(frozen=True)
class Progress:
    """One line of the log: means since the last one."""

    step: int
    steps: int
    view: int
    pages_per_second: float
    minutes_left: float
    text: float
    patch: float
    cell: float
    guide: float
    attention: float
    accuracy: float


class ReaderTraining:
    """A run in a folder: `state.pt` to resume from, `log.jsonl`, and the averaged weights as a checkpoint in `model/`.

    Args:
        recipe: What to learn; a folder may be resumed with another one, say with more steps.
        published: The network's `config.json`.
        init: A checkpoint of this network to start from instead of random weights; a run that is resumed needs none.
    """

    def __init__(
        self,
        recipe: ReaderRecipe,
        folder: Path,
        published: Mapping[str, Any] = EMBEDDED_CONFIG,
        init: Path | None = None,
    ):
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.step = recipe, folder, 0
        self.config = OcrConfig.from_dict(published)
        self.model, self.guides = DeepseekOcr(self.config), Guides(self.config)
        initialise(self.model)
        if init is not None:
            self.model.load_state_dict(load_ocr(init, dtype=torch.float32)[0].state_dict())
        self.averaged = copy.deepcopy(self.model)
        self.optimizer = Optimizer(self.model, self.guides, recipe)
        folder.mkdir(parents=True, exist_ok=True)
        save_tokenizer(folder)
        self.tokenizer = Tokenizer.from_directory(folder)
        if (folder / STATE).exists():
            self._resume()

    def run(self, report: Callable[[Progress], None], log_every: int = 50) -> None:
        """Train to the recipe's end, from wherever the folder's last checkpoint stands."""
        self._losses, self._since = [], time.monotonic()
        for batch in self._batches():
            self._losses.append(self._learn(batch))
            self.step += 1
            if self.step % log_every == 0:
                report(self._log(batch))
            if self.step % self.recipe.every == 0 or self.step == self.recipe.steps:
                self.save()

    def _batches(self) -> Iterator[Batch]:
        """One worker renders ahead; a batch depends on nothing but the recipe and its step."""
        pages = PageBatches(self.recipe, self.config, self.tokenizer)
        steps = range(self.step, self.recipe.steps)
        return iter(DataLoader(pages, batch_size=None, sampler=steps, num_workers=1, prefetch_factor=6))

    def _learn(self, batch: Batch) -> Losses:
        with torch.autocast("cpu", torch.bfloat16):
            losses = self.guides(self.model, batch)
        weights = self.recipe
        loss = losses.text + weights.patch_loss * losses.patch + weights.cell_loss * losses.cell
        (loss + weights.guide_loss * losses.guide).backward()
        self.optimizer.step(self.step)
        average(self.averaged, self.model, self.step, self.recipe.ema)
        return Losses(**{field.name: getattr(losses, field.name).detach() for field in fields(losses)})

    def _log(self, batch: Batch) -> Progress:
        now, count = time.monotonic(), len(self._losses)
        means = {f.name: float(sum(getattr(x, f.name) for x in self._losses)) / count for f in fields(Losses)}
        seconds = (now - self._since) / count
        left = seconds * (self.recipe.steps - self.step) / 60
        pages = len(batch.views)
        progress = Progress(self.step, self.recipe.steps, batch.views.shape[-1], pages / seconds, left, **means)
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(progress)) + "\n")
        self._losses, self._since = [], now
        return progress

    def save(self) -> None:
        """Write the state to resume from and the averaged weights as a checkpoint, each whole or not at all."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "guides": self.guides.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.folder / (STATE + ".part")
        torch.save(state, partial)
        partial.replace(self.folder / STATE)
        self.export(self.folder / MODEL)

    def export(self, folder: Path) -> None:
        """Write the averaged weights in bfloat16, in the published layout."""
        folder.mkdir(exist_ok=True)
        save_ocr(copy.deepcopy(self.averaged).to(torch.bfloat16), {}, folder)
        self.tokenizer.save_pretrained(folder)

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.folder / STATE, weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.guides.load_state_dict(state["guides"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
