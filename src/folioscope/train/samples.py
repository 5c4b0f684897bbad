"""Training pages to tensors: what the network sees, what it must answer, and where on the page each answer stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from folioscope.config import Mode, OcrConfig
from folioscope.tokens import Tokenizer
from folioscope.train.answers import IGNORE, Row, answer_row, asked, pad_rows
from folioscope.train.grid import Grid, placement
from folioscope.train.recipe import ReaderRecipe, Stage
from folioscope.train.render import PageStyle, TrainingPage, render_page
from folioscope.train.variety import varied
from folioscope.views import TILE, Views, ocr_views

TOGETHER = 4
"""Steps whose pages are drawn together."""


@dataclass(frozen=True)
class Batch:
    """Pages of one view size, each with all questions and their answers: looking costs more than answering.

    Attributes:
        views: (B, 3, S, S) float32, of whole pages.
        rows: (B * questions, T) each, right-padded, page by page.
        patches, cells, blocks: What stands on each patch and image token of the views, see `Grid`.
        tiles: Of each page (columns * rows, 3, 640, 640) float32, or None; its grid is columns and rows.
    """

    views: Tensor
    rows: Row
    patches: Tensor
    cells: Tensor
    blocks: Tensor
    tiles: tuple[Tensor | None, ...]
    grids: tuple[tuple[int, int], ...]

    @property
    def is_tiled(self) -> bool:
        return any(tiles is not None for tiles in self.tiles)


def questions(page: TrainingPage) -> tuple[tuple[str, str, np.ndarray], ...]:
    """What is asked of a page: a preset prompt, its answer, and where each character of that is found on the page."""
    return ("free", page.plain, page.plain_xy), ("markdown", page.grounded, page.grounded_xy)


class PageBatches(Dataset[Batch]):
    """Step number to its batch: the same pages for the same recipe and step, wherever a run resumes.

    Up to `TOGETHER` steps of a stage draw their pages together and share them out by the length of their answers, so
    that little of a batch is padding.
    """

    def __init__(self, recipe: ReaderRecipe, config: OcrConfig, tokenizer: Tokenizer):
        self.recipe, self.config, self.tokenizer = recipe, config, tokenizer
        self._drawn: tuple[int, list[list[TrainingPage]]] = (-1, [])

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        stage, place = self.recipe.stretch(step)
        first = step - place % TOGETHER
        if self._drawn[0] != first:
            self._drawn = first, self._draw(stage, first, min(TOGETHER, stage.steps - place + place % TOGETHER))
        rng = np.random.default_rng([self.recipe.seed, step, 1])
        return make_batch(self._drawn[1][step - first], stage, self.config, self.tokenizer, self.recipe.slips, rng)

    def _draw(self, stage: Stage, first: int, steps: int) -> list[list[TrainingPage]]:
        rng = np.random.default_rng([self.recipe.seed, first])
        seeds = rng.integers(2**32, size=steps * stage.pages).tolist()
        drawn = (training_page(stage.style, seed, self.recipe.vary) for seed in seeds)
        pages = sorted(drawn, key=lambda page: len(page.grounded))
        return [pages[start * stage.pages :][: stage.pages] for start in rng.permutation(steps)]


def training_page(style: PageStyle, seed: int, vary: bool) -> TrainingPage:
    """The page of this style and seed as it is trained on."""
    page = render_page(style, seed)
    return varied(page, np.random.default_rng([seed, 1])) if vary else page


@dataclass(frozen=True)
class _Frame:
    """Takes page pixels to pixels of what the first image tokens show, the view or the tiles: `columns` tokens wide."""

    scale: np.ndarray
    offset: np.ndarray
    columns: int
    rows: int

    def slots(self, places: np.ndarray, pixels: int) -> np.ndarray:
        """The positions of the image tokens, `pixels` wide, that show these places (n, 2) of the page, or IGNORE."""
        column, row = np.nan_to_num((places * self.scale + self.offset) // pixels, nan=-1).astype(np.int64).T
        inside = (column >= 0) & (column < self.columns) & (row >= 0) & (row < self.rows)
        return np.where(inside, 1 + row * (self.columns + 1) + column, IGNORE)


def make_batch(
    pages: Sequence[TrainingPage],
    stage: Stage,
    config: OcrConfig,
    tokenizer: Tokenizer,
    slips: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Tensors of pages and answers for a stage's view size; with `slips`, the answers are shown with some."""
    rng, grid = rng or np.random.default_rng(0), Grid(config, stage.view)
    every = [ocr_views(page.image, Mode(stage.view, TILE, True, stage.max_tiles)) for page in pages]
    rows = []
    for page, views in zip(pages, every, strict=True):
        frame = _frame(views, config)
        for prompt, answer, places in questions(page):
            slots = frame.slots(places, config.pixels_per_token)
            rows.append(answer_row(asked(prompt, views, config, tokenizer), answer, tokenizer, slips, rng, slots))
    seen = [grid.seen(page) for page in pages]
    classes = [torch.from_numpy(np.stack(part)) for part in zip(*seen, strict=True)]
    tiles, grids = tuple(views.tiles for views in every), tuple(views.grid for views in every)
    return Batch(
        torch.stack([views.global_view for views in every]), pad_rows(rows, tokenizer.pad_token_id), *classes,
        tiles=tiles, grids=grids,
    )  # fmt: skip


def _frame(views: Views, config: OcrConfig) -> _Frame:
    if views.tiles is None:
        view = views.global_view.shape[-1]
        scale, offset = placement(views.page_size, view)
        return _Frame(np.full(2, scale), offset, *[config.tokens_per_side(view)] * 2)
    tiled = np.array(views.grid) * TILE
    columns, rows = (count * config.tokens_per_side(TILE) for count in views.grid)
    return _Frame(tiled / views.page_size, np.zeros(2), columns, rows)
