"""Fine-tune a segmenter on labelled images: the encoder as it is, its embeddings kept, everything behind it trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from folioscope.model.sam import Sam
from folioscope.segment import Scene, Segmenter
from folioscope.train.coco import Labelled
from folioscope.train.prompting import rounds, step_generator, together
from folioscope.train.run import Training
from folioscope.train.scenes import Prompts, make_prompts
from folioscope.train.segmenter import processor_of
from folioscope.train.segmenter_recipe import SegmenterRecipe
from folioscope.views import SamFrame
from folioscope.weights import load_sam, save_sam

EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class TuningBatch:
    """Embedded images (B, C, h, w), and what is asked of them."""

    embeddings: Tensor
    prompts: Prompts


class TuningBatches(Dataset[TuningBatch]):
    """Step number to its batch: images drawn by chance, each embedded when it is first drawn, and kept in `folder`."""

    def __init__(self, recipe: SegmenterRecipe, segmenter: Segmenter, images: Sequence[Labelled], folder: Path):
        self.recipe, self.segmenter, self.images, self.folder = recipe, segmenter, images, folder

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> TuningBatch:
        stage = self.recipe.stage(step)
        rng = np.random.default_rng([self.recipe.seed, step])
        chosen = [self.images[index] for index in rng.integers(len(self.images), size=stage.images)]
        scenes = [self.segmenter.embed(image.path, keep_in=self.folder) for image in chosen]
        masks = [_at_square(image, scene) for image, scene in zip(chosen, scenes, strict=True)]
        side, shrink = scenes[0].frame.side, self.segmenter.model.config.vit.patch_size // 4
        prompts = make_prompts(masks, stage, side, shrink, rng)
        return TuningBatch(torch.stack([scene.embedding.float() for scene in scenes]), prompts)


def _at_square(image: Labelled, scene: Scene) -> np.ndarray:
    """The masks of an image in pixels of the square that is encoded; objects too small for it are left out."""
    scaled = SamFrame(image.size, scene.frame.side).scaled
    masks = [np.asarray(Image.fromarray(mask).convert("L").resize(scaled)) > 127 for mask in image.masks()]
    kept = [mask for mask in masks if mask.any()]
    return np.stack(kept or [np.ones(scaled[::-1], bool)])


class SegmenterTuning(Training[Sam, TuningBatch]):
    """A run in a folder, see `Training`; the embeddings are kept in it too.

    Args:
        recipe: Its stages' pictures have no style here.
        images: Labelled, see `read_coco`.
        checkpoint: What is fine-tuned; its dtype and its side remain.
    """

    def __init__(self, recipe: SegmenterRecipe, folder: Path, images: Sequence[Labelled], checkpoint: Path):
        torch.manual_seed(recipe.seed)
        self.recipe, self.images = recipe, images
        self.segmenter = Segmenter.from_pretrained(checkpoint, dtype="float32")
        self.stored = load_sam(checkpoint).dtype
        model = copy.deepcopy(self.segmenter.model).requires_grad_(True)
        model.vit.requires_grad_(False)
        super().__init__(recipe, folder, model, {})

    def batches(self) -> TuningBatches:
        return TuningBatches(self.recipe, self.segmenter, self.images, self.folder / EMBEDDINGS)

    def pictures(self, batch: TuningBatch) -> Sequence[Tensor]:
        return batch.embeddings.unbind()

    def losses(self, batch: TuningBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        chances, focal_loss = self.recipe.stage(self.step).rounds, self.recipe.focal_loss
        generator = step_generator(self.recipe, self.step)
        seen, _ = rounds(self.model, batch.embeddings, batch.prompts, chances, focal_loss, generator)
        return together(seen, self.recipe)

    def export(self, folder: Path) -> None:
        """Write the averaged weights in the checkpoint's dtype, in transformers' layout."""
        averaged = copy.deepcopy(self.averaged).to(self.stored)
        folder.mkdir(exist_ok=True)
        save_sam(averaged, folder)
        processor_of(averaged.config).save_pretrained(folder)
