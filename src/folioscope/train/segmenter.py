"""Train the segmenter: composites in, prompts simulated, weights out.

Source: Segment Anything (arXiv 2304.02643, appendix A, "Training algorithm").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from folioscope.config import SamConfig
from folioscope.model.positions import resize_grid, resize_line
from folioscope.model.sam import Sam
from folioscope.model.two_way import Trace
from folioscope.processing import SamImageProcessor, SamProcessor
from folioscope.train.clicks import corrections
from folioscope.train.mask_losses import MaskLosses, mask_losses
from folioscope.train.run import Training
from folioscope.train.scene_guides import SceneGuides
from folioscope.train.scenes import SceneBatch, SceneBatches
from folioscope.train.segmenter_recipe import EMBEDDED_CONFIG, SegmenterRecipe
from folioscope.weights import load_sam, save_sam


class SegmenterTraining(Training[Sam, SceneBatch]):
    """A run in a folder, see `Training`.

    Args:
        recipe: What to learn.
        config: The network.
        init: A checkpoint of this network to start from instead of random weights.
    """

    def __init__(
        self, recipe: SegmenterRecipe, folder: Path, config: SamConfig = EMBEDDED_CONFIG, init: Path | None = None
    ):
        torch.manual_seed(recipe.seed)
        self.recipe, model, self.guides = recipe, new_sam(config), SceneGuides(config)
        if init is not None:
            model.load_state_dict(load_sam(init, dtype=torch.float32).state_dict())
        super().__init__(recipe, folder, model, {"guides": self.guides})

    def batches(self) -> SceneBatches:
        return SceneBatches(self.recipe, self.model.config)

    def pictures(self, batch: SceneBatch) -> Tensor:
        return batch.pixels

    def losses(self, batch: SceneBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Prompt, then correct as often as chance has it; every round counts."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        chances = torch.tensor(self.recipe.stage(self.step).rounds)
        rounds = 1 + int(torch.multinomial(chances, 1, generator=generator))
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = self.model.embed(batch.pixels)
            kin = self.guides.kinship(embeddings, batch.inside, batch.targets.float() / 255)
        seen, look = self._rounds(batch, embeddings, rounds, generator)
        weights = self.recipe
        losses = [weights.focal_loss * one.focal + one.dice + weights.iou_loss * one.iou for one in seen]
        measured = {field.name: getattr(seen[0], field.name) for field in fields(MaskLosses)}
        loss = torch.stack(losses).sum() + weights.kin_loss * kin + weights.look_loss * look
        return loss, {**measured, "last": seen[-1].single, "kin": kin, "look": look}

    def _rounds(
        self, batch: SceneBatch, embeddings: Tensor, rounds: int, generator: torch.Generator
    ) -> tuple[list[MaskLosses], Tensor]:
        """The losses of each round, and of the look at the first click."""
        targets, trace = batch.targets.float() / 255, Trace()
        points, labels, masks, seen = batch.points, batch.labels, None, []
        for left in reversed(range(rounds)):
            with torch.autocast("cpu", torch.bfloat16):
                logits, estimates = all_masks(
                    self.model, embeddings, points, labels, batch.boxes, masks, None if seen else trace
                )
            seen.append(mask_losses(logits, estimates, targets, self.recipe.focal_loss))
            if left:
                masks = _best(logits, estimates)
                clicks, marks = corrections(masks, targets, batch.pixels.shape[-1], generator)
                points, labels = torch.cat([points, clicks], dim=2), torch.cat([labels, marks], dim=2)
        return seen, self.guides.attention(trace.maps, batch.points, batch.labels, embeddings.shape[3])

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


def all_masks(
    model: Sam,
    embeddings: Tensor,
    points: Tensor,
    labels: Tensor,
    boxes: Tensor | None,
    masks: Tensor | None,
    trace: Trace | None = None,
) -> tuple[Tensor, Tensor]:
    """All masks of every object, the one for clear prompts first, and the estimates of their IoU."""
    grid = (embeddings.shape[2], embeddings.shape[3])
    prompts = model.prompts(points, labels, boxes, masks, grid)
    return model.masks(embeddings, model.prompts.image_positions(grid), prompts, trace=trace)


@torch.no_grad()
def _best(logits: Tensor, estimates: Tensor) -> Tensor:
    """Of the masks (B, N, M, s, s), for each object the one that is estimated best, (B, N, s, s)."""
    best = estimates.argmax(dim=2)[:, :, None, None, None].expand(-1, -1, 1, *logits.shape[3:])
    return logits.detach().float().gather(2, best)[:, :, 0]
