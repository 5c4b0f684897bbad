"""Training pages to tensors: what the network sees, what it must answer, and where on the page each answer stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from folioscope.config import Mode, OcrConfig
from folioscope.tokens import PROMPTS, Tokenizer, encode_prompt, slot_count
from folioscope.train.recipe import ReaderRecipe, Stage
from folioscope.train.render import TrainingPage, render_page
from folioscope.views import TILE, Views, ocr_views

CELL_GLYPHS = 8
"""Glyphs of one image token that the cell loss asks for."""

CHARSET = "".join(chr(code) for code in range(33, 127)) + "’‘“”–—€£éèüöäñç§°•"
"""Glyph classes 1, 2, ... of the patch and cell losses; 0 is none, the last is any other."""

IGNORE = -100


@dataclass(frozen=True)
class Batch:
    """Pages of one view size, a question and its answer each.

    Attributes:
        views: (B, 3, S, S) float32, of whole pages.
        tiles: Of each page (columns * rows, 3, 640, 640) float32, or None; its grid is columns and rows.
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
    tiles: tuple[Tensor | None, ...]
    grids: tuple[tuple[int, int], ...]

    @property
    def is_tiled(self) -> bool:
        return any(tiles is not None for tiles in self.tiles)


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
        batch = make_batch(pages, stage, self.config, self.tokenizer)
        chance = torch.Generator().manual_seed(int(seeds[0]))
        return replace(batch, ids=with_slips(batch.ids, batch.targets, self.recipe.slips, chance))


def with_slips(ids: Tensor, targets: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Ids (B, T) as a reader may have written them: about this share of the answers' ids, 0..1, are others' instead.

    Decoded freely, a reader sees its own slips; one that has seen none in training loses its line after the first.
    """
    answered = targets != IGNORE
    written = answered & answered.roll(1, dims=1)  # not the prompt's last id, which an answer follows
    slipped = written & (torch.rand(ids.shape, generator=generator) < share)
    others = ids[written][torch.randint(int(written.sum()), (int(slipped.sum()),), generator=generator)]
    return ids.masked_scatter(slipped, others)


@dataclass(frozen=True)
class _Row:
    ids: list[int]
    mask: list[bool]
    start: int
    slots: np.ndarray


@dataclass(frozen=True)
class _Frame:
    """Takes page pixels to pixels of what the first image tokens show, the view or the tiles: `columns` tokens wide."""

    scale: np.ndarray
    offset: np.ndarray
    columns: int
    rows: int


def make_batch(pages: Sequence[TrainingPage], stage: Stage, config: OcrConfig, tokenizer: Tokenizer) -> Batch:
    """Tensors of `pages` for a stage's view size."""
    side, patch = config.tokens_per_side(stage.view), config.vit.patch_size
    mode = Mode(stage.view, TILE, True, stage.max_tiles)
    every = [ocr_views(page.image, mode) for page in pages]
    rows, patches, cells = [], [], []
    for index, (page, views) in enumerate(zip(pages, every, strict=True)):
        prompt, text, places = _question(page, index)
        slots = slot_count(side, config.tokens_per_side(TILE), views.grid)
        rows.append(_row(tokenizer, prompt, text, places, slots, _frame(views, config), config.pixels_per_token))
        glyphs = _classed(page.glyphs, *_placement(page.image.size, stage.view))
        patches.append(_patch_classes(glyphs, stage.view // patch, patch))
        cells.append(_cell_classes(glyphs, side, config.pixels_per_token))
    seen = torch.stack([views.global_view for views in every])
    stacked = torch.from_numpy(np.stack(patches)), torch.from_numpy(np.stack(cells))
    tiles, grids = tuple(views.tiles for views in every), tuple(views.grid for views in every)
    return Batch(seen, *_pad_rows(rows, tokenizer.pad_token_id), *stacked, tiles=tiles, grids=grids)


def _frame(views: Views, config: OcrConfig) -> _Frame:
    if views.tiles is None:
        view = views.global_view.shape[-1]
        scale, offset = _placement(views.page_size, view)
        return _Frame(np.full(2, scale), offset, *[config.tokens_per_side(view)] * 2)
    tiled = np.array(views.grid) * TILE
    columns, rows = (count * config.tokens_per_side(TILE) for count in views.grid)
    return _Frame(tiled / views.page_size, np.zeros(2), columns, rows)


def _question(page: TrainingPage, index: int) -> tuple[str, str, np.ndarray]:
    """Every other page is asked for grounded Markdown, the others for their plain text."""
    if index % 2 == 1:
        return "markdown", page.grounded, page.grounded_xy
    return "free", page.plain, page.plain_xy


def _placement(size: tuple[int, int], view: int) -> tuple[float, np.ndarray]:
    """Scale and offset that take page pixels to pixels of the padded view."""
    scale = min(view / size[0], view / size[1])
    return scale, (view - np.array(size, dtype=np.float32) * scale) / 2


def _row(
    tokenizer: Tokenizer, prompt: str, text: str, places: np.ndarray, slots: int, frame: _Frame, pixels: int
) -> _Row:
    head = encode_prompt(tokenizer, PROMPTS[prompt], slots)
    ids = tokenizer.encode(text)
    owners = _owners(text, ids, tokenizer)
    seen = places[owners] * frame.scale + frame.offset
    column, row = np.nan_to_num(seen // pixels, nan=-1).astype(np.int64).T
    inside = (column >= 0) & (column < frame.columns) & (row >= 0) & (row < frame.rows)
    holders = np.where(inside, 1 + row * (frame.columns + 1) + column, IGNORE)
    answer = [*ids, tokenizer.eos_token_id]
    return _Row([*head.ids, *answer], [*head.image_mask, *[False] * len(answer)], len(head.ids), holders)


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
