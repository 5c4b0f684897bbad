"""Train the reader: batches of pages in, weights out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from folioscope.config import OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import Tokenizer
from folioscope.train.evaluate import Reading, evaluate
from folioscope.train.growth import deeper
from folioscope.train.guides import Guides, Losses
from folioscope.train.optimize import initialise
from folioscope.train.precision import mixed_precision
from folioscope.train.preview import save_readings
from folioscope.train.recipe import EMBEDDED_CONFIG, ReaderRecipe
from folioscope.train.run import Training
from folioscope.train.samples import Batch, PageBatches
from folioscope.train.trials import Trial
from folioscope.train.vocabulary import save_tokenizer
from folioscope.weights import load_ocr, save_ocr


class ReaderTraining(Training[DeepseekOcr, Batch]):
    """A run in a folder, see `Training`.

    Args:
        recipe: What to learn.
        published: The network's `config.json`.
        init: A checkpoint of this network to start from instead of random weights, its ViT may have fewer blocks; a run
            that is resumed needs none.
    """

    def __init__(
        self,
        recipe: ReaderRecipe,
        folder: Path,
        published: Mapping[str, Any] = EMBEDDED_CONFIG,
        init: Path | None = None,
    ):
        torch.manual_seed(recipe.seed)
        self.recipe, self.config = recipe, OcrConfig.from_dict(published)
        model, self.guides = DeepseekOcr(self.config), Guides(self.config)
        initialise(model)
        if init is not None:
            start = load_ocr(init, dtype=torch.float32)[0]
            start.encoder.vit = deeper(start.encoder.vit, start.config.vit, self.config.vit)
            model.load_state_dict(start.state_dict())
        super().__init__(recipe, folder, model, {"guides": self.guides})
        save_tokenizer(folder)
        self.tokenizer = Tokenizer.from_directory(folder)

    def batches(self) -> PageBatches:
        return PageBatches(self.recipe, self.config, self.tokenizer)

    def pictures(self, batch: Batch) -> Sequence[Tensor]:
        return batch.views.unbind()

    def losses(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        with mixed_precision():
            losses = self.guides(self.model, batch)
        weights = self.recipe
        loss = losses.text + weights.patch_loss * losses.patch + weights.cell_loss * losses.cell
        loss = loss + weights.block_loss * losses.block + weights.side_loss * (losses.side + losses.number)
        loss = loss + weights.look_loss * losses.look + weights.guide_loss * losses.guide
        return loss, {f.name: getattr(losses, f.name) for f in fields(Losses)}

    def look(self) -> Mapping[str, Any]:
        """Held-out pages of the last stage's style read, and drawn in `readings.png` with what stands there."""
        style = replace(self.recipe.stages[-1].style, texts="held_out")
        readings: list[Reading] = []
        score = evaluate(self.averaged, self.tokenizer, Trial("look", style), self.recipe.looks, readings.append)
        save_readings(self.folder, readings)
        return {"pages": score.pages, "errors": score.rate(score.edits), "runaway": score.runaway}

    def export(self, folder: Path) -> None:
        """Write the averaged weights in bfloat16, in the published layout."""
        folder.mkdir(exist_ok=True)
        save_ocr(copy.deepcopy(self.averaged).to(torch.bfloat16), {}, folder)
        self.tokenizer.save_pretrained(folder)
