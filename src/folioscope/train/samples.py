"""Training pages to tensors: what the network sees, what it must answer, and where on the page each answer stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from folioscope.config import Mode, OcrConfig
from folioscope.tokens import PROMPTS, Tokenizer, encode_prompt
from folioscope.train.recipe import ReaderRecipe, Stage
from folioscope.train.render import TrainingPage, render_page
from folioscope.views import TILE, ocr_views

CELL_GLYPHS = 8
"""Glyphs of one image token that the cell loss asks for."""

CHARSET = "".join(chr(code) for code in range(33, 127)) + "’‘“”–—€£éèüöäñç§°•"
"""Glyph classes 1, 2, ... of the patch and cell losses; 0 is none, the last is any other."""

IGNORE = -100


@dataclass(frozen=True)
class Batch:
    """Pages of one view size, a question and its answer each.

    Attributes:
        views: (B, 3, S, S) float32.
        ids: (B, T) int64, right-padded.
        image_mask: (B, T) bool.
        targets: (B, T) int64, the next id of the answer, or IGNORE.
        slots: (B, T) int64, position of the image token that holds the next glyph of the answer, or IGNORE.
        patches: (B, h, w) int64, the glyph class at the middle of each ViT patch.
        cells: (B, s, s, CELL_GLYPHS) int64, glyph classes whose middle is in each image token's square, in order.
    """

    views: Tensor
    ids: Tensor
    image_mask: Tensor
    targets: Tensor
    slots: Tensor
    patches: Tensor
    cells: Tensor


class PageBatches(Dataset[Batch]):
    """Step number to its batch: the same pages for the same recipe and step, wherever a run resumes."""

    def __init__(self, recipe: ReaderRecipe, config: OcrConfig, tokenizer: Tokenizer):
        self.recipe, self.config, self.tokenizer = recipe, config, tokenizer

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        stage = self.recipe.stage(step)
        seeds = np.random.SeedSequence([self.recipe.seed, step]).generate_state(stage.pages)
        pages = [render_page(stage.style, int(seed)) for seed in seeds]
        return make_batch(pages, stage, self.config, self.tokenizer)


@dataclass(frozen=True)
class _Row:
    ids: list[int]
    mask: list[bool]
    start: int
    slots: np.ndarray


def make_batch(pages: Sequence[TrainingPage], stage: Stage, config: OcrConfig, tokenizer: Tokenizer) -> Batch:
    """Tensors of `pages` for a stage's view size."""
    side = config.tokens_per_side(stage.view)
    mode = Mode(stage.view, TILE, True)
    rows, patches, cells = [], [], []
    for index, page in enumerate(pages):
        scale, offset = _placement(page.image.size, stage.view)
        prompt, text, places = _question(page, index)
        rows.append(_row(tokenizer, prompt, text, places * scale + offset, side, config.pixels_per_token))
        glyphs = _classed(page.glyphs, scale, offset)
        patches.append(_patch_classes(glyphs, stage.view // config.vit.patch_size, config.vit.patch_size))
        cells.append(_cell_classes(glyphs, side, config.pixels_per_token))
    views = torch.stack([ocr_views(page.image, mode).global_view for page in pages])
    stacked = torch.from_numpy(np.stack(patches)), torch.from_numpy(np.stack(cells))
    return Batch(views, *_pad_rows(rows, tokenizer.pad_token_id), *stacked)


def _question(page: TrainingPage, index: int) -> tuple[str, str, np.ndarray]:
    """Every other page is asked for grounded Markdown, the others for their plain text."""
    if index % 2 == 1:
        return "markdown", page.grounded, page.grounded_xy
    return "free", page.plain, page.plain_xy


def _placement(size: tuple[int, int], view: int) -> tuple[float, np.ndarray]:
    """Scale and offset that take page pixels to pixels of the padded view."""
    scale = min(view / size[0], view / size[1])
    return scale, (view - np.array(size, dtype=np.float32) * scale) / 2


def _row(tokenizer: Tokenizer, prompt: str, text: str, places: np.ndarray, side: int, pixels: int) -> _Row:
    head = encode_prompt(tokenizer, PROMPTS[prompt], side * (side + 1) + 1)
    ids = tokenizer.encode(text)
    owners = _owners(text, ids, tokenizer)
    cell = np.nan_to_num(places[owners] // pixels, nan=-1).astype(np.int64)  # (n, 2) column, row
    inside = ((cell >= 0) & (cell < side)).all(axis=1)
    slots = np.where(inside, 1 + cell[:, 1] * (side + 1) + cell[:, 0], IGNORE)
    answer = [*ids, tokenizer.eos_token_id]
    return _Row([*head.ids, *answer], [*head.image_mask, *[False] * len(answer)], len(head.ids), slots)


def _owners(text: str, ids: Sequence[int], tokenizer: Tokenizer) -> np.ndarray:
    """For each id, the character of `text` it belongs to (one token a byte, special tokens whole)."""
    owners, place = [], 0
    for token in ids:
        raw = tokenizer.token_bytes(token)
        owners.append((place, len(raw)))
        place += len(raw)
    byte_owner = np.repeat(np.arange(len(text)), [len(c.encode()) for c in text])
    return byte_owner[[start for start, _ in owners]] if owners else np.empty(0, dtype=np.int64)


def _classed(glyphs: np.ndarray, scale: float, offset: np.ndarray) -> np.ndarray:
    """Glyphs as class, x1, y1, x2, y2 in view pixels."""
    boxes = glyphs[:, 1:] * scale + np.tile(offset, 2)
    classes = [CHARSET.find(chr(int(code))) + 1 or len(CHARSET) + 1 for code in glyphs[:, 0]]
    return np.column_stack([np.array(classes, dtype=np.float32), boxes])


def _patch_classes(glyphs: np.ndarray, side: int, patch: int) -> np.ndarray:
    grid = np.zeros((side, side), dtype=np.int64)
    spans = np.ceil((glyphs[:, 1:] / patch) - 0.5).astype(int).clip(0, side)  # patch middles inside the box
    for glyph, (x1, y1, x2, y2) in zip(glyphs, spans, strict=True):
        grid[y1:y2, x1:x2] = int(glyph[0])
    return grid


def _cell_classes(glyphs: np.ndarray, side: int, pixels: int) -> np.ndarray:
    cells = np.zeros((side, side, CELL_GLYPHS), dtype=np.int64)
    filled = np.zeros((side, side), dtype=np.int64)
    middles = ((glyphs[:, 1:3] + glyphs[:, 3:5]) / 2 // pixels).astype(int).clip(0, side - 1)
    for glyph, (x, y) in zip(glyphs, middles, strict=True):
        if filled[y, x] < CELL_GLYPHS:
            cells[y, x, filled[y, x]] = int(glyph[0])
            filled[y, x] += 1
    return cells


def _pad_rows(rows: Sequence[_Row], pad: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    targets, slots = torch.full_like(ids, IGNORE), torch.full_like(ids, IGNORE)
    for index, row in enumerate(rows):
        end = len(row.ids)
        ids[index, :end] = torch.tensor(row.ids)
        mask[index, :end] = torch.tensor(row.mask)
        targets[index, row.start - 1 : end - 1] = ids[index, row.start : end]
        slots[index, row.start - 1 : end - 2] = torch.from_numpy(row.slots)
    return ids, mask, targets, slots
