"""Where the words of a page stand: the model points at blocks; lines are found in the ink, words by their lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from folioscope.export.plain import plain_lines
from folioscope.ink import Ink, ink_of, stretches
from folioscope.types import Box, PageResult, Region

THIN = 0.4
"""A row of ink lower than this part of the usual row is an accent or a dot of the row beside it."""


@dataclass(frozen=True)
class Word:
    """A word and its box in pixels of the page."""

    text: str
    box: Box


@dataclass(frozen=True)
class TextLine:
    """Words from left to right. `confidence` 0..1, or None."""

    words: tuple[Word, ...]
    box: Box
    confidence: float | None = None

    @property
    def text(self) -> str:
        """The words with a blank between."""
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True)
class TextBlock:
    """A region of the page with its lines; none for a figure."""

    region: Region
    box: Box
    lines: tuple[TextLine, ...]


def placed_blocks(page: PageResult) -> list[TextBlock]:
    """The page's regions in reading order; text without a box is taken to fill the page."""
    image = page.image
    ink = ink_of(image) if image is not None else None
    everywhere = (0.0, 0.0, float(page.size[0]), float(page.size[1]))
    return [_block(region, region.box or everywhere, ink) for region in page.regions if region.box or region.text]


def _block(region: Region, box: Box, ink: Ink | None) -> TextBlock:
    written = [line.split() for line in plain_lines(region.text)]
    if not written:
        return TextBlock(region, box, ())
    rows = ink_rows(ink, box) if ink is not None else []
    if len(rows) < len(written):
        rows = _even_rows(box, len(written))
    lines = written if len(rows) == len(written) else _spread([word for line in written for word in line], rows)
    known = [line.confidence for line in region.lines]
    sure = known if len(known) == len(lines) == len(written) else [region.confidence] * len(lines)
    placed = (_line(*line) for line in zip(lines, rows, sure, strict=True) if line[0])
    return TextBlock(region, box, tuple(placed))


def ink_rows(ink: Ink, box: Box) -> list[Box]:
    """The rows of ink in a box, top to bottom, in pixels of the page."""
    x1, y1, x2, y2 = (round(value / ink.scale) for value in box)
    inside = ink.mask[max(0, y1) : y2, max(0, x1) : x2]
    spans = _merged([(int(top), int(bottom)) for top, bottom in stretches(inside.max(axis=1, initial=False))])
    rows = []
    for top, bottom in spans:
        columns = np.flatnonzero(inside[top:bottom].any(axis=0))
        corners = max(0, x1) + columns[0], max(0, y1) + top, max(0, x1) + columns[-1] + 1, max(0, y1) + bottom
        left, upper, right, lower = (float(corner * ink.scale) for corner in corners)
        rows.append((left, upper, right, lower))
    return rows


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Thin rows joined to the nearest of their neighbours."""
    rows = list(spans)
    usual = float(np.median([bottom - top for top, bottom in rows])) if rows else 0.0
    index = 0
    while len(rows) > 1 and index < len(rows):
        top, bottom = rows[index]
        if bottom - top >= THIN * usual:
            index += 1
            continue
        above = top - rows[index - 1][1] if index else float("inf")
        below = rows[index + 1][0] - bottom if index + 1 < len(rows) else float("inf")
        first = index - 1 if above <= below else index
        rows[first : first + 2] = [(rows[first][0], rows[first + 1][1])]
        index = first
    return rows


def _even_rows(box: Box, count: int) -> list[Box]:
    left, top, right, bottom = box
    edges = np.linspace(top, bottom, count + 1).tolist()
    return [(left, upper, right, lower) for upper, lower in pairwise(edges)]


def _spread(words: Sequence[str], rows: Sequence[Box]) -> list[list[str]]:
    """Words over rows in order, to each row as many letters as its width holds."""
    widths = np.cumsum([right - left for left, _, right, _ in rows])
    letters = np.cumsum([len(word) + 1 for word in words])
    middles = (letters - np.array([len(word) + 1 for word in words]) / 2) / letters[-1]
    places = np.searchsorted(widths / widths[-1], middles).clip(0, len(rows) - 1)
    return [[word for word, place in zip(words, places, strict=True) if place == row] for row in range(len(rows))]


def _line(words: Sequence[str], row: Box, confidence: float | None) -> TextLine:
    left, top, right, bottom = row
    letters = sum(map(len, words)) + len(words) - 1
    step, pen, placed = (right - left) / letters, left, []
    for word in words:
        placed.append(Word(word, (pen, top, pen + step * len(word), bottom)))
        pen += step * (len(word) + 1)
    return TextLine(tuple(placed), row, confidence)
