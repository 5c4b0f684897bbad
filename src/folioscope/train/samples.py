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
from folioscope.train.render import TrainingPage, render_page
from folioscope.views import TILE, Views, ocr_views

TOGETHER = 4
"""Steps whose pages are drawn together."""


@dataclass(frozen=True)
class Batch:
    """Pages of one view size, a question and its answer each.

    Attributes:
        views: (B, 3, S, S) float32, of whole pages.
        rows: (B, T) each, right-padded.
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


@dataclass(frozen=True)
class Question:
    """A page with what is asked of it, its answer, and where each character of that is found on the page."""

    page: TrainingPage
    prompt: str
    answer: str
    places: np.ndarray


def question(page: TrainingPage, index: int) -> Question:
    """Every other page is asked for grounded Markdown, the others for their plain text."""
    if index % 2 == 1:
        return Question(page, "markdown", page.grounded, page.grounded_xy)
    return Question(page, "free", page.plain, page.plain_xy)


class PageBatches(Dataset[Batch]):
    """Step number to its batch: the same pages for the same recipe and step, wherever a run resumes.

    Up to `TOGETHER` steps of a stage draw their pages together and share them out by the length of their answers, so
    that little of a batch is padding.
    """

    def __init__(self, recipe: ReaderRecipe, config: OcrConfig, tokenizer: Tokenizer):
        self.recipe, self.config, self.tokenizer = recipe, config, tokenizer
        self._drawn: tuple[int, list[list[Question]]] = (-1, [])

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        stage, place = self.recipe.stretch(step)
        first = step - place % TOGETHER
        if self._drawn[0] != first:
            self._drawn = first, self._draw(stage, first, min(TOGETHER, stage.steps - place + place % TOGETHER))
        rng = np.random.default_rng([self.recipe.seed, step])
        return make_batch(self._drawn[1][step - first], stage, self.config, self.tokenizer, self.recipe.slips, rng)

    def _draw(self, stage: Stage, first: int, steps: int) -> list[list[Question]]:
        rng = np.random.default_rng([self.recipe.seed, first])
        seeds = rng.integers(2**32, size=steps * stage.pages).tolist()
        questions = [question(render_page(stage.style, seed), index) for index, seed in enumerate(seeds)]
        questions.sort(key=lambda question: len(question.answer))
        return [questions[start * stage.pages :][: stage.pages] for start in rng.permutation(steps)]


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
    questions: Sequence[Question],
    stage: Stage,
    config: OcrConfig,
    tokenizer: Tokenizer,
    slips: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Tensors of pages and answers for a stage's view size; with `slips`, the answers are shown with some."""
    rng, grid = rng or np.random.default_rng(0), Grid(config, stage.view)
    every = [ocr_views(one.page.image, Mode(stage.view, TILE, True, stage.max_tiles)) for one in questions]
    rows, seen = [], []
    for one, views in zip(questions, every, strict=True):
        slots = _frame(views, config).slots(one.places, config.pixels_per_token)
        rows.append(answer_row(asked(one.prompt, views, config, tokenizer), one.answer, tokenizer, slips, rng, slots))
        seen.append(grid.seen(one.page))
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
