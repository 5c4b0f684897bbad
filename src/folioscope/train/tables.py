"""Tables for training pages: cells in columns, set left or right, with rules around, between, or none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from folioscope.train.fonts import Typeface
from folioscope.train.typesetting import ink_width, paragraph

Segment = tuple[int, int, int, int]


@dataclass(frozen=True)
class Table:
    """A table whose left top corner is at (0, 0). Pixels.

    Attributes:
        rows: Of each row its cells, each a text and where its pen starts.
        rules: x1, y1, x2, y2 of each line drawn.
    """

    rows: tuple[tuple[tuple[str, float], ...], ...]
    rules: tuple[Segment, ...]


def typeset(
    words: Iterator[str], face: Typeface, size: tuple[int, int], width: int, step: int, rng: np.random.Generator
) -> Table:
    """Fill a table of `size` (columns, rows) over `width` pixels, a row every `step` pixels."""
    columns, rows = size
    edges = _edges(columns, width, rng)
    gap = max(2, round(face.width(" ")))
    texts = [[_cell(words, face, right - left - 2 * gap, rng) for left, right in pairwise(edges)] for _ in range(rows)]
    flush_right = rng.random(columns) < 0.3
    placed = [
        tuple(
            (text, right - gap - ink_width(face, text) if flush else left + gap)
            for text, (left, right), flush in zip(row, pairwise(edges), flush_right, strict=True)
        )
        for row in texts
    ]
    return Table(tuple(placed), _rules(edges, rows, step, rng))


def _edges(columns: int, width: int, rng: np.random.Generator) -> list[int]:
    """Where columns begin and end: none narrower than half of its even share."""
    shares = rng.uniform(0.5, 1, columns)
    return [0, *(np.cumsum(shares / shares.sum()) * (width - 1)).astype(int).tolist()]


def _cell(words: Iterator[str], face: Typeface, room: float, rng: np.random.Generator) -> str:
    """As many words as fit, mostly cut to one or two."""
    line = paragraph(words, face, room, 1, rng)[0].text
    return " ".join(line.split(" ")[: int(rng.integers(1, 4))])


def _rules(edges: list[int], rows: int, step: int, rng: np.random.Generator) -> tuple[Segment, ...]:
    """A grid, lines between rows, lines around the head and at the foot, or none."""
    left, right, bottom = edges[0], edges[-1], rows * step
    kind = rng.integers(4)
    levels = {0: range(rows + 1), 1: range(rows + 1), 2: (0, 1, rows), 3: ()}[int(kind)]
    across = [(left, level * step, right, level * step) for level in levels]
    down = [(edge, 0, edge, bottom) for edge in edges] if kind == 0 else []
    return (*across, *down)
