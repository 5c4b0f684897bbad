"""What a training page is before it is drawn: its style, and blocks of lines at their places."""

from __future__ import annotations

from dataclasses import dataclass

from folioscope.train import fonts
from folioscope.train.fonts import Split
from folioscope.types import InputError

NARROWEST = 0.4
"""Shortest side of a page, in parts of its style's."""


@dataclass(frozen=True)
class PageStyle:
    """What the curriculum turns.

    Attributes:
        side: Longest side of the page, pixels. Pages vary in shape; some are clearly smaller.
        lines: Fewest and most lines of text on the page; fewer when they do not fit.
        type_px: Smallest and largest font size, pixels per em.
        random_share: Share of words that no language model can guess, 0..1.
        degrade: Probability that the page is damaged.
        layout: Probability of several blocks (title, sub_title, text, list, image) rather than one of text.
        fonts: Which split of the type faces.
        texts: Which split of the sentences and words.
        strength: Of the damage: 1 is mild, 2 a bad scan; also the largest skew in degrees.
        columns: Probability of two columns, under one title or none, where the page is wide enough.
        tables: Probability of a table on a page of several blocks.
        endings: Probability of a picture below all else in a column; others seldom have room for one there.
        old_figures: Share of blocks set with old-style figures, where the face has them.
    """

    side: int = 384
    lines: tuple[int, int] = (1, 4)
    type_px: tuple[int, int] = (18, 34)
    random_share: float = 0.3
    degrade: float = 0.5
    layout: float = 0.5
    fonts: Split = "train"
    texts: Split = "train"
    strength: float = 1.0
    columns: float = 0.0
    tables: float = 0.0
    endings: float = 0.0
    old_figures: float = 0.0

    def __post_init__(self) -> None:
        roomy = 2.5 * self.type_px[1] <= NARROWEST * self.side
        checks = (
            (1 <= self.lines[0] <= self.lines[1], "lines", "(fewest, most), at least 1 line"),
            (6 <= self.type_px[0] <= self.type_px[1], "type_px", "(smallest, largest), at least 6 pixels"),
            (roomy, "type_px", f"at most {NARROWEST * self.side / 2.5:.0f} pixels on pages of side {self.side}"),
        )
        for good, name, wanted in checks:
            if not good:
                raise InputError(f"{name}={getattr(self, name)!r}: must be {wanted}")


@dataclass(frozen=True)
class Line:
    """One line of type. `spoken` is `text` as the answer writes it, character for character."""

    text: str
    spoken: str
    x: int
    baseline: int
    face: fonts.Typeface


@dataclass(frozen=True)
class Block:
    """What stands under one label.

    Attributes:
        lines: Of type; of a table its cells, row by row.
        box: Of a picture, in page pixels; it has no lines.
        cells: In each row of a table.
        rules: Lines drawn in a table, x1, y1, x2, y2 in page pixels, both ends inked.
    """

    label: str
    lines: tuple[Line, ...] = ()
    box: tuple[int, int, int, int] | None = None
    cells: int = 0
    rules: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True)
class Plan:
    """A page before it is drawn. `angle` in degrees, counter-clockwise."""

    size: tuple[int, int]
    blocks: tuple[Block, ...]
    angle: float
    damaged: bool
