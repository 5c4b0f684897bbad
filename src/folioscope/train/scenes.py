"""Composites to tensors: what the network sees, what it is asked, and what it should draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from folioscope.config import SamConfig
from folioscope.model.sam_prompts import FOREGROUND, PADDING
from folioscope.train.clicks import click, loose_box
from folioscope.train.composites.compose import Composite, compose
from folioscope.train.composites.page_objects import compose_page
from folioscope.train.segmenter_recipe import SceneStage, SegmenterRecipe
from folioscope.views import sam_view

_BOTH = 0.1
"""Share of objects prompted for by a box and a click."""


@dataclass(frozen=True)
class Prompts:
    """What is asked of B pictures, N objects in each, and what should be drawn. Pixels are the encoded picture's.

    Attributes:
        points: (B, N, 1, 2) float32 pixels, x and y.
        labels: (B, N, 1) int64; PADDING where there is a box only.
        boxes: (B, N, 4) float32; PADDING where there is a click only.
        inside: (B, N, 2) float32, a pixel of each object whatever its prompt is.
        targets: (B, N, s, s) uint8, the share of each low-resolution pixel that belongs to the object, of 255.
    """

    points: Tensor
    labels: Tensor
    boxes: Tensor
    inside: Tensor
    targets: Tensor


@dataclass(frozen=True)
class SceneBatch:
    """Pictures of one size (B, 3, S, S), float32 and normalised, and what is asked of them."""

    pixels: Tensor
    prompts: Prompts


class SceneBatches(Dataset[SceneBatch]):
    """Step number to its batch: the same pictures for the same recipe and step, wherever a run resumes."""

    def __init__(self, recipe: SegmenterRecipe, config: SamConfig):
        self.recipe, self.config = recipe, config

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> SceneBatch:
        stage = self.recipe.stage(step)
        seeds = np.random.SeedSequence([self.recipe.seed, step]).generate_state(stage.images + 1).tolist()
        rng = np.random.default_rng(seeds.pop())
        return make_batch([draw_scene(stage, seed, rng) for seed in seeds], stage, self.config, rng)


def draw_scene(stage: SceneStage, seed: int, rng: np.random.Generator) -> Composite:
    """A composite, or as often as the stage says a page."""
    draw = compose_page if rng.random() < stage.pages else compose
    return draw(stage.style, seed)


def make_batch(
    scenes: Sequence[Composite], stage: SceneStage, config: SamConfig, rng: np.random.Generator
) -> SceneBatch:
    """Tensors of pictures whose longest side is the stage's."""
    side = stage.style.side
    views = torch.stack([sam_view(scene.image, side).pixels for scene in scenes])
    shrink = config.vit.patch_size // 4
    prompts = make_prompts([scene.masks for scene in scenes], stage, side, shrink, rng)
    return SceneBatch(views, prompts)


def make_prompts(
    masks: Sequence[np.ndarray], stage: SceneStage, side: int, shrink: int, rng: np.random.Generator
) -> Prompts:
    """Prompt for as many objects in each picture as the stage says.

    Args:
        masks: For each picture, (n, height, width) bool in pixels of the square of `side` that is encoded.
        shrink: How many times smaller low-resolution masks are.
    """
    columns = zip(*(_prompts(some, stage, rng) for some in masks), strict=True)
    chosen, points, labels, boxes, inside = (np.stack(column) for column in columns)
    targets = [_targets(some[row], side, shrink) for some, row in zip(masks, chosen, strict=True)]
    asked = (torch.from_numpy(column) for column in (points, labels, boxes, inside))
    return Prompts(*asked, targets=torch.stack(targets))


def _prompts(masks: np.ndarray, stage: SceneStage, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Indices of objects, all of them before any comes again, then points, labels, boxes and pixels inside."""
    present, count = len(masks), stage.objects
    chosen = np.concatenate([rng.permutation(present) for _ in range(-(-count // present))])[:count]
    points = np.zeros((count, 1, 2), np.float32)
    labels = np.full((count, 1), PADDING)
    boxes = np.full((count, 4), PADDING, np.float32)
    inside = np.array([click(masks[index], rng) for index in chosen], np.float32)
    for row, index in enumerate(chosen):
        kind = rng.random()
        if kind < stage.boxes + _BOTH:
            boxes[row] = loose_box(masks[index], rng)
        if kind >= stage.boxes:
            points[row, 0], labels[row, 0] = inside[row], FOREGROUND
    return chosen, points, labels, boxes, inside


def _targets(masks: np.ndarray, side: int, shrink: int) -> Tensor:
    """(n, side / shrink, side / shrink) uint8 of bool (n, height, width) masks at the left top of a square."""
    padded = np.zeros((len(masks), side, side), np.float32)
    padded[:, : masks.shape[1], : masks.shape[2]] = masks
    return (F.avg_pool2d(torch.from_numpy(padded), shrink) * 255).to(torch.uint8)
