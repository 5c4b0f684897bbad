"""Training pages: drawn on the spot, with both answers and the place of every character of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from folioscope.train import degrade
from folioscope.train.layout import Block, Line, PageStyle
from folioscope.train.pictures import draw_picture
from folioscope.train.planning import plan_page

__all__ = ["PageStyle", "TrainingPage", "render_page"]

_MARKUP = {"title": "# ", "sub_title": "## "}
GRID = 999
"""Boxes in answers are in so many parts of the page."""
_INSIDE = 10  # pixels, how far from its corner a picture is looked at
_EDGE = 2  # pixels, how far inside of a block its sides are looked at
_WITHIN = 1e-3  # pixels by which the last pixel's edge is on the page still
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class TrainingPage:
    """A page and what to read on it. Coordinates are page pixels, after skew.

    Attributes:
        image: RGB.
        grounded: The answer to the Markdown prompt, in the published grammar.
        plain: The answer to "Free OCR.".
        grounded_xy: (len(grounded), 2) float32, the middle of the glyph that each character stands for; of the gap
            for blanks within a line; where the block starts for its label, and for each number of its box where that
            side can be seen; NaN for other markup and line breaks.
        plain_xy: The same for `plain`.
        glyphs: (n, 5) float32, one row a visible glyph: code point, x1, y1, x2, y2; its advance across, its ink down.
        blocks: (n, 4) float32, the box of each block, x1, y1, x2, y2.
    """

    image: Image.Image
    grounded: str
    plain: str
    grounded_xy: np.ndarray
    plain_xy: np.ndarray
    glyphs: np.ndarray
    blocks: np.ndarray


@dataclass(frozen=True)
class _Marks:
    """What is written around lines, or around the rows and cells of a table."""

    before: str = ""
    before_row: str = ""
    between: str = " "
    after_row: str = "\n"
    after: str = ""


_LINES = _Marks()
_TABLE = _Marks("<table>", "<tr><td>", "</td><td>", "</td></tr>", "</table>\n")


@dataclass
class _Answer:
    """Text being written, with a place for every character."""

    parts: list[str] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)

    def markup(self, text: str) -> None:
        self.write(text, np.full((len(text), 2), np.nan))

    def markup_at(self, text: str, x: float, y: float) -> None:
        """Markup that says where something is."""
        self.write(text, np.full((len(text), 2), (x, y)))

    def write(self, text: str, centres: np.ndarray) -> None:
        self.parts.append(text)
        self.places.append(centres)

    def finish(self) -> tuple[str, np.ndarray]:
        """The text without the blank line at its end, and its places."""
        text = "".join(self.parts).rstrip("\n")
        return text, np.concatenate([*self.places, np.empty((0, 2))])[: len(text)].astype(np.float32)


@dataclass(frozen=True)
class _SetLine:
    """A line with its glyphs: `boxes` (n, 4) advance by ink, `ink` (n, 4) ink only; skewed as the page is."""

    line: Line
    boxes: np.ndarray
    ink: np.ndarray


def render_page(style: PageStyle, seed: int) -> TrainingPage:
    """Draw the page of this style and seed; the same on every call on the same machine."""
    rng = np.random.default_rng(seed)
    plan = plan_page(style, rng)
    paper, ink = _colours(rng, coloured=plan.damaged)
    image = Image.new("RGB", plan.size, paper)
    for block in plan.blocks:
        _draw_block(image, block, ink, rng)
    matrix = degrade.skew_matrix(plan.size, plan.angle)
    if plan.angle:
        image = degrade.skew(image, plan.angle, paper)
    if plan.damaged:
        image = degrade.degrade(image, rng, style.strength)
    set_blocks = [(block, [_set_line(line, matrix) for line in block.lines]) for block in plan.blocks]
    return _describe(image, set_blocks, matrix)


def _colours(rng: np.random.Generator, coloured: bool) -> tuple[Colour, Colour]:
    """Paper and ink, at least 120 levels of grey apart."""
    if not coloured:
        return (255, 255, 255), (0, 0, 0)
    light, dark = rng.integers(200, 256, 3), rng.integers(0, 80, 3)
    if rng.random() < 0.5:
        light = np.full(3, rng.integers(235, 256))
    if rng.random() < 0.6:
        dark = np.full(3, rng.integers(0, 70))
    paper, ink = (dark, light) if rng.random() < 0.15 else (light, dark)
    return tuple(paper.tolist()), tuple(ink.tolist())


def _draw_block(image: Image.Image, block: Block, ink: Colour, rng: np.random.Generator) -> None:
    if block.box is not None:
        draw_picture(image, block.box, rng)
    draw = ImageDraw.Draw(image)
    for rule in block.rules:
        draw.line(rule, fill=ink)
    for line in block.lines:
        face, place = line.face, (line.x, line.baseline)
        draw.text(place, line.text, fill=ink, font=face.font, features=face.features, anchor="ls")


def _set_line(line: Line, matrix: degrade.Matrix) -> _SetLine:
    pens = line.face.pens(line.text) + line.x
    measures = np.array([line.face.glyph(character) for character in line.text])  # (n, 5)
    top, bottom = line.baseline + measures[:, 2], line.baseline + measures[:, 4]
    boxes = np.stack([pens, top, pens + measures[:, 0], bottom], axis=1)
    ink = np.stack([pens + measures[:, 1], top, pens + measures[:, 3], bottom], axis=1)
    return _SetLine(line, _turn(boxes, matrix), _turn(ink, matrix))


def _turn(boxes: np.ndarray, matrix: degrade.Matrix) -> np.ndarray:
    """The upright boxes around the turned boxes, (n, 4)."""
    a, b, c, d, e, f = matrix
    if b == 0:
        return boxes
    x, y = boxes[:, [0, 2, 0, 2]], boxes[:, [1, 1, 3, 3]]  # the four corners
    across, down = a * x + b * y + c, d * x + e * y + f
    return np.stack([across.min(1), down.min(1), across.max(1), down.max(1)], axis=1)


def _describe(image: Image.Image, blocks: list[tuple[Block, list[_SetLine]]], matrix: degrade.Matrix) -> TrainingPage:
    grounded, plain = _Answer(), _Answer()
    boxes = np.array([_box(block, lines, matrix, image.size) for block, lines in blocks]).reshape(-1, 4)
    for (block, lines), box in zip(blocks, boxes, strict=True):
        _write_reference(grounded, block, lines, box, image.size)
        grounded.markup(_MARKUP.get(block.label, ""))
        _write_rows(grounded, block, lines, _TABLE if block.cells else _LINES)
        _write_rows(plain, block, lines, _LINES)
        grounded.markup("\n")
        plain.markup("\n" if lines else "")
    visible = [row for _, lines in blocks for line in lines for row in _visible(line)]
    (grounded_text, grounded_xy), (plain_text, plain_xy) = grounded.finish(), plain.finish()
    glyphs = np.array(visible, dtype=np.float32).reshape(-1, 5)
    return TrainingPage(image, grounded_text, plain_text, grounded_xy, plain_xy, glyphs, boxes.astype(np.float32))


def _box(block: Block, lines: list[_SetLine], matrix: degrade.Matrix, size: tuple[int, int]) -> np.ndarray:
    """The upright box around a block's ink, x1, y1, x2, y2, within the page."""
    drawn = [*block.rules, block.box] if block.box else list(block.rules)
    ink = np.concatenate([*(_inked(line) for line in lines), _turn(np.array(drawn, float).reshape(-1, 4), matrix)])
    return np.clip(np.concatenate([ink[:, :2].min(0), ink[:, 2:].max(0)]), 0, np.array([*size, *size]) - _WITHIN)


def _write_reference(
    answer: _Answer, block: Block, lines: list[_SetLine], box: np.ndarray, size: tuple[int, int]
) -> None:
    """The label, found where the block starts, and the box, each side of it found where it can be seen."""
    corner = np.concatenate([box[:2], np.minimum(box[:2] + 2 * _INSIDE, box[2:])])[None]
    glyphs = [line.boxes for line in lines] or [corner]
    start = (glyphs[0][0, :2] + glyphs[0][0, 2:]) / 2
    answer.markup_at(f"<|ref|>{block.label}<|/ref|><|det|>[[", *start)
    numbers = (box / [*size, *size] * GRID).round().astype(int).tolist()
    for index, (number, seen) in enumerate(zip(numbers, _sides(box, glyphs), strict=True)):
        answer.markup_at(", " if index else "", *start)
        answer.markup_at(str(number), *seen)
    answer.markup_at("]]<|/det|>", *start)
    answer.markup("\n")


def _sides(box: np.ndarray, glyphs: list[np.ndarray]) -> np.ndarray:
    """(4, 2) where to see the sides of a box with lines of glyphs (n, 4) in it: beside those that reach furthest."""
    every = np.concatenate(glyphs)
    left, right = every[every[:, 0].argmin()], every[every[:, 2].argmax()]
    head, foot = glyphs[0][0], glyphs[-1][0]
    (x1, y1, x2, y2), edge = box, np.minimum(_EDGE, (box[2:] - box[:2]) / 2)
    return np.array([
        (x1 + edge[0], (left[1] + left[3]) / 2),
        ((head[0] + head[2]) / 2, y1 + edge[1]),
        (x2 - edge[0], (right[1] + right[3]) / 2),
        ((foot[0] + foot[2]) / 2, y2 - edge[1]),
    ])  # fmt: skip


def _inked(line: _SetLine) -> np.ndarray:
    return line.ink[[character != " " for character in line.line.text]]


def _write_rows(answer: _Answer, block: Block, lines: list[_SetLine], marks: _Marks) -> None:
    """A line is a row, and so are the cells of a row of a table."""
    in_row = block.cells or 1
    answer.markup(marks.before if lines else "")
    for start in range(0, len(lines), in_row):
        answer.markup(marks.before_row)
        for index, line in enumerate(lines[start : start + in_row]):
            answer.markup(marks.between if index else "")
            answer.write(line.line.spoken, (line.boxes[:, :2] + line.boxes[:, 2:]) / 2)
        answer.markup(marks.after_row)
    answer.markup(marks.after if lines else "")


def _visible(line: _SetLine) -> list[tuple[float, ...]]:
    rows = zip(line.line.text, line.boxes.tolist(), strict=True)
    return [(ord(character), *box) for character, box in rows if character != " "]
