"""What stands where on a view: the glyph on each of the ViT's patches, glyphs and block of each image token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from folioscope.config import OcrConfig
from folioscope.train.render import TrainingPage

CELL_GLYPHS = 10
"""Glyphs of one image token that the cell loss asks for."""

CHARSET = "".join(chr(code) for code in range(33, 127)) + "’‘“”–—€£éèüöäñç§°•"
"""Glyph classes 1, 2, ... of the patch and cell losses; 0 is none, the last is any other."""


@dataclass(frozen=True)
class Grid:
    """The patches and image tokens of square views of `view` pixels."""

    config: OcrConfig
    view: int

    def seen(self, page: TrainingPage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a view of the page shows.

        Returns:
            patches: (h, w) int64, the glyph class at the middle of each ViT patch.
            cells: (s, s, CELL_GLYPHS) int64, glyph classes whose middle is in each image token's square, in order.
            blocks: (s, s, 10) float32, the box of the block that most of what is in the square belongs to, the middle
                of the square, and the box of what of the block is in the square; in parts of the page, 0..1; NaN where
                there is no block, or no page.
        """
        side, patch = self.config.tokens_per_side(self.view), self.config.vit.patch_size
        scale, offset = placement(page.image.size, self.view)
        boxes = page.glyphs[:, 1:] * scale + np.tile(offset, 2)
        classes = [CHARSET.find(chr(int(code))) + 1 or len(CHARSET) + 1 for code in page.glyphs[:, 0]]
        blocks = _overlapping(page.blocks * scale + np.tile(offset, 2), side, self.config.pixels_per_token)
        corners = np.concatenate([page.blocks / np.tile(page.image.size, 2), np.full((1, 4), np.nan)])[blocks]
        middles, half = self._middles(page.image.size)
        inside = corners.clip(np.tile(middles - half, 2), np.tile(middles + half, 2))
        return (
            _patch_classes(classes, boxes, self.view // patch, patch),
            _cell_classes(classes, boxes, side, self.config.pixels_per_token),
            np.concatenate([corners, middles, inside], axis=2).astype(np.float32),
        )

    def _middles(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The middles (s, s, 2) of the squares in parts of the page, NaN off the page, and half of a square's sides."""
        scale, offset = placement(size, self.view)
        pixels = self.config.pixels_per_token
        along = np.arange(self.view // pixels) * pixels + pixels / 2
        page = np.array(size) * scale
        middles = (np.stack(np.meshgrid(along, along), axis=2) - offset) / page  # (s, s, 2)
        middles[((middles < 0) | (middles > 1)).any(axis=2)] = np.nan
        return middles, pixels / 2 / page


def placement(size: tuple[int, int], view: int) -> tuple[float, np.ndarray]:
    """Scale and offset that take page pixels to pixels of the padded view."""
    scale = min(view / size[0], view / size[1])
    return scale, (view - np.array(size, dtype=np.float32) * scale) / 2


def _patch_classes(classes: list[int], boxes: np.ndarray, side: int, patch: int) -> np.ndarray:
    grid = np.zeros((side, side), dtype=np.int64)
    spans = np.ceil((boxes / patch) - 0.5).astype(int).clip(0, side)  # patch middles inside the box
    for glyph, (x1, y1, x2, y2) in zip(classes, spans, strict=True):
        grid[y1:y2, x1:x2] = glyph
    return grid


def _cell_classes(classes: list[int], boxes: np.ndarray, side: int, pixels: int) -> np.ndarray:
    cells = np.zeros((side, side, CELL_GLYPHS), dtype=np.int64)
    filled = np.zeros((side, side), dtype=np.int64)
    middles = ((boxes[:, :2] + boxes[:, 2:]) / 2 // pixels).astype(int).clip(0, side - 1)
    for glyph, (x, y) in zip(classes, middles, strict=True):
        if filled[y, x] < CELL_GLYPHS:
            cells[y, x, filled[y, x]] = glyph
            filled[y, x] += 1
    return cells


def _overlapping(boxes: np.ndarray, side: int, pixels: int) -> np.ndarray:
    """(side, side) int, which of the boxes (n, 4) covers most of each square; -1 for none."""
    edges = np.arange(side)[:, None] * pixels
    across, down = (
        (np.minimum(boxes[:, i + 2], edges + pixels) - np.maximum(boxes[:, i], edges)).clip(0) for i in (0, 1)
    )  # (side, n)
    areas = down[:, None] * across[None]  # (side, side, n)
    nothing = np.full((side, side, 1), 1e-6)
    winner = np.concatenate([nothing, areas], axis=2).argmax(axis=2)
    return winner - 1
