"""Train the segmenter: composites in, prompts simulated, weights out.

Source: Segment Anything (arXiv 2304.02643, appendix A, "Training algorithm").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from folioscope.config import SamConfig
from folioscope.model.positions import resize_grid, resize_line
from folioscope.model.sam import Sam
from folioscope.processing import SamImageProcessor, SamProcessor
from folioscope.train.growth import grown
from folioscope.train.precision import mixed_precision
from folioscope.train.prompting import rounds, step_generator, together
from folioscope.train.run import MODEL, Training
from folioscope.train.scene_guides import SceneGuides
from folioscope.train.scenes import SceneBatch, SceneBatches
from folioscope.train.segmenter_preview import look_at
from folioscope.train.segmenter_recipe import EMBEDDED_CONFIG, SegmenterRecipe
from folioscope.weights import load_sam, save_sam


class SegmenterTraining(Training[Sam, SceneBatch]):
    """A run in a folder, see `Training`.

    Args:
        recipe: What to learn.
        config: The network.
        init: A checkpoint to start from instead of random weights; the network is its own, with the blocks of `config`.
    """

    def __init__(
        self, recipe: SegmenterRecipe, folder: Path, config: SamConfig = EMBEDDED_CONFIG, init: Path | None = None
    ):
        torch.manual_seed(recipe.seed)
        model = grown(load_sam(init, dtype=torch.float32), config.vit) if init else new_sam(config)
        self.recipe, self.guides = recipe, SceneGuides(model.config)
        super().__init__(recipe, folder, model, {"guides": self.guides})

    def batches(self) -> SceneBatches:
        return SceneBatches(self.recipe, self.model.config)

    def pictures(self, batch: SceneBatch) -> Sequence[Tensor]:
        return batch.pixels.unbind()

    def losses(self, batch: SceneBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        generator = step_generator(self.recipe, self.step)
        prompts, targets = batch.prompts, batch.prompts.targets.float() / 255
        with mixed_precision():
            embeddings = self.model.embed(batch.pixels)
            kin = self.guides.kinship(embeddings, prompts.inside, targets)
        stage = self.recipe.stage(self.step)
        seen, maps = rounds(self.model, embeddings, prompts, stage.rounds, self.recipe.focal_loss, generator)
        look = self.guides.attention(maps, prompts.points, prompts.labels, embeddings.shape[3])
        loss, measured = together(seen, self.recipe)
        loss = loss + self.recipe.kin_loss * kin + self.recipe.look_loss * look
        return loss, {**measured, "kin": kin, "look": look}

    def look(self) -> Mapping[str, Any]:
        """Held-out composites cut up, some of them drawn in `cuts.png`."""
        return asdict(look_at(self.folder / MODEL, self.recipe.looks, self.folder / "cuts.png"))

    def export(self, folder: Path) -> None:
        """Write the averaged weights in bfloat16 as transformers saves a SAM, with its processor's settings.

        They are for pictures of the last stage's side.
        """
        side = self.recipe.stages[-1].style.side
        averaged = at_side(self.averaged.state_dict(), self.model.config, side).to(torch.bfloat16)
        folder.mkdir(exist_ok=True)
        save_sam(averaged, folder)
        processor_of(averaged.config).save_pretrained(folder)


def new_sam(config: SamConfig) -> Sam:
    """A network to train: torch's initial weights, and positions that bfloat16 holds exactly."""
    model = Sam(config)
    nn.init.normal_(model.vit.pos_embed, std=0.02)
    matrix = model.prompts.positions.matrix
    matrix.copy_(matrix.bfloat16())
    return model


@torch.no_grad()
def at_side(weights: Mapping[str, Tensor], config: SamConfig, side: int) -> Sam:
    """The network for pictures of another side, with the tables that it has resized to itself when it sees them."""
    model = Sam(replace(config, vit=replace(config.vit, image_size=side), published={}))
    grid, resized = model.config.vit.grid, dict(weights)
    resized["vit.pos_embed"] = resize_grid(weights["vit.pos_embed"], grid, grid)
    for layer in config.vit.global_attn_indexes:
        for axis in ("h", "w"):
            name = f"vit.blocks.{layer}.attn.rel_pos_{axis}"
            resized[name] = resize_line(weights[name], 2 * grid - 1)
    model.load_state_dict(resized)
    return model.eval()


def processor_of(config: SamConfig) -> SamProcessor:
    """The processor that prepares pictures for this network."""
    side, low = config.vit.image_size, 4 * config.vit.grid
    settings = {
        "size": {"longest_edge": side},
        "pad_size": {"height": side, "width": side},
        "mask_size": {"longest_edge": low},
        "mask_pad_size": {"height": low, "width": low},
    }
    return SamProcessor(SamImageProcessor(**settings))
