"""Where things stand on a training page: blocks of lines, broken at blanks, placed so that all of them fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from folioscope.train import degrade, fonts, texts
from folioscope.train.fonts import Split
from folioscope.train.typesetting import Row, bulleted, ink_width, paragraph
from folioscope.types import InputError

_NARROWEST = 0.4  # of the side
_BULLETS = "•–-"


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

    def __post_init__(self) -> None:
        roomy = 2.5 * self.type_px[1] <= _NARROWEST * self.side
        checks = (
            (1 <= self.lines[0] <= self.lines[1], "lines", "(fewest, most), at least 1 line"),
            (6 <= self.type_px[0] <= self.type_px[1], "type_px", "(smallest, largest), at least 6 pixels"),
            (roomy, "type_px", f"at most {_NARROWEST * self.side / 2.5:.0f} pixels on pages of side {self.side}"),
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
    """Lines under one label, or a picture: `box` in page pixels and no lines."""

    label: str
    lines: tuple[Line, ...] = ()
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """A page before it is drawn. `angle` in degrees, counter-clockwise."""

    size: tuple[int, int]
    blocks: tuple[Block, ...]
    angle: float
    damaged: bool


@dataclass
class _Column:
    """The strip of page being filled, top to bottom."""

    style: PageStyle
    rng: np.random.Generator
    left: int
    width: int
    top: int
    bottom: int
    lines_left: int
    designs: tuple[tuple[fonts.Face, ...], ...]
    body_px: int
    leading: float
    blocks: list[Block] = field(default_factory=list)


def plan_page(style: PageStyle, rng: np.random.Generator) -> Plan:
    """Choose shape, faces, words and places of one page."""
    damaged = bool(rng.random() < style.degrade)
    angle = degrade.skew_angle(rng, style.strength) if damaged and rng.random() < 0.5 else 0.0
    count = int(rng.integers(style.lines[0], style.lines[1] + 1))
    body_px = int(rng.integers(style.type_px[0], style.type_px[1] + 1))
    width, height = _page_size(style, rng, count * body_px * 1.5)
    margin = 3 + math.ceil(max(width, height) / 2 * math.sin(math.radians(abs(angle))))
    spare = min(width / 2 - 2 * body_px, height / 2 - body_px) - margin
    margin += int(rng.uniform(0, max(0, min(body_px, spare))))
    column = _Column(
        style, rng, margin, width - 2 * margin, margin, height - margin, count,
        _page_designs(style, rng), body_px, float(rng.uniform(0.95, 1.35)),
    )  # fmt: skip
    _fill(column)
    blocks = _spread(column.blocks, column.bottom - column.top, rng)
    return Plan((width, height), blocks, angle, damaged)


def _page_size(style: PageStyle, rng: np.random.Generator, text_height: float) -> tuple[int, int]:
    side = style.side
    longest = side if rng.random() < 0.75 else int(side * rng.uniform(_NARROWEST, 1))
    other = int(side * rng.uniform(_NARROWEST, 1)) if rng.random() < 0.85 else longest
    width, height = (longest, other) if rng.random() < 0.5 else (other, longest)
    return width, min(side, max(height, int(text_height) + 16))


def _page_designs(style: PageStyle, rng: np.random.Generator) -> tuple[tuple[fonts.Face, ...], ...]:
    """One design for the whole page, or a second one for its titles: (body, titles)."""
    known = fonts.designs(style.fonts)
    body = known[rng.integers(len(known))]
    return body, body if rng.random() < 0.7 else known[rng.integers(len(known))]


def _fill(column: _Column) -> None:
    rng = column.rng
    if rng.random() >= column.style.layout:
        _add_text(column, "text", column.lines_left)
        return
    if column.lines_left >= 2 and rng.random() < 0.6:
        _add_text(column, "title", int(rng.integers(1, 2 + (column.lines_left > 3))))
    picture_due = rng.random() < 0.3
    while column.lines_left > 0:
        before = column.lines_left
        if picture_due and rng.random() < 0.5:
            _add_picture(column)
            picture_due = False
        _add_some_text(column)
        if column.lines_left == before:
            return
    if picture_due:
        _add_picture(column)


def _add_some_text(column: _Column) -> None:
    rng, left = column.rng, column.lines_left
    if left >= 2 and rng.random() < 0.25:
        _add_text(column, "sub_title", 1)
    label = "list" if rng.random() < 0.3 else "text"
    _add_text(column, label, int(rng.integers(1, column.lines_left + 1)))


def _add_text(column: _Column, label: str, count: int) -> None:
    """Set up to `count` lines, fewer when the column is full."""
    rng = column.rng
    face, type_face = _choose_face(column, label)
    step = max(1, round((type_face.ascent + type_face.descent) * column.leading))
    fitting = int((column.bottom - column.top - type_face.ascent - type_face.descent) // step) + 1
    count = min(count, fitting, column.lines_left)
    if count < 1:
        return
    stream = texts.word_stream(rng, column.style.texts, column.style.random_share, fonts.alphabet(face))
    if label in ("title", "sub_title"):
        stream = _headline(stream, rng)
    width = column.width if rng.random() < 0.7 else max(round(column.width * rng.uniform(0.5, 1)), 4 * column.body_px)
    width = min(width, column.width)
    if label == "list":
        rows = bulleted(stream, type_face, width, count, rng, _bullet(rng, fonts.alphabet(face)))
    else:
        rows = paragraph(stream, type_face, width, count, rng)
    lines = _place(column, rows, type_face, step, centred=label != "list" and rng.random() < 0.2)
    column.blocks.append(Block(label, lines))
    column.lines_left -= len(lines)
    column.top = lines[-1].baseline - type_face.ascent + round(step * rng.uniform(1.4, 2))


def _choose_face(column: _Column, label: str) -> tuple[fonts.Face, fonts.Typeface]:
    rng, (low, high) = column.rng, column.style.type_px
    heading = label in ("title", "sub_title")
    faces = column.designs[int(heading)]
    face = faces[rng.integers(len(faces))]
    grown = {"title": rng.uniform(1.25, 1.7), "sub_title": rng.uniform(1.05, 1.25)}.get(label, 1)
    return face, fonts.typeface(face, min(round(column.body_px * grown), max(round(high * 1.2), low + 2)))


def _bullet(rng: np.random.Generator, alphabet: frozenset[str]) -> str:
    drawable = [bullet for bullet in _BULLETS if bullet in alphabet]
    return drawable[rng.integers(len(drawable))]


def _headline(stream: Iterator[str], rng: np.random.Generator) -> Iterator[str]:
    case = (str, str.upper, str.capitalize, str)[rng.integers(4)]
    for word in stream:
        cased = case(word) if word.isascii() else word
        yield cased.rstrip(".,;:") or word


def _place(column: _Column, rows: list[Row], face: fonts.Typeface, step: int, centred: bool) -> tuple[Line, ...]:
    spare = column.width - max(indent + ink_width(face, text) for text, _, indent in rows)
    left = column.left + int(column.rng.uniform(0, max(spare, 0))) * int(column.rng.random() < 0.4)
    lines = []
    for number, (text, spoken, indent) in enumerate(rows):
        x = left + indent
        if centred:
            x = column.left + (column.width - ink_width(face, text)) / 2
        lean = max(0, -math.floor(face.glyph(text[0])[1]))  # a first glyph may start left of its pen
        x = min(x + lean, max(column.left + column.width - ink_width(face, text), column.left + lean))
        lines.append(Line(text, spoken, int(x), column.top + face.ascent + number * step, face))
    return tuple(lines)


def _add_picture(column: _Column) -> None:
    rng = column.rng
    height = round(column.style.side * rng.uniform(0.12, 0.3))
    width = round(column.width * rng.uniform(0.35, 1))
    room = column.bottom - column.top
    if (room - height < 3 * column.body_px and column.lines_left) or room < height:
        return
    left = column.left + int(rng.integers(0, column.width - width + 1))
    column.blocks.append(Block("image", box=(left, column.top, left + width, column.top + height)))
    column.top += height + int(rng.integers(4, 4 + column.body_px))


def _spread(blocks: list[Block], room: int, rng: np.random.Generator) -> tuple[Block, ...]:
    """Move the blocks down by random parts of the room left over below them."""
    if room <= 0:
        return tuple(blocks)
    shares = np.sort(rng.integers(0, room + 1, size=len(blocks)))
    if rng.random() < 0.6:
        shares[:] = shares[0]
    return tuple(_moved(block, int(share)) for block, share in zip(blocks, shares, strict=True))


def _moved(block: Block, down: int) -> Block:
    lines = tuple(replace(line, baseline=line.baseline + down) for line in block.lines)
    if block.box is None:
        return replace(block, lines=lines)
    x1, y1, x2, y2 = block.box
    return replace(block, box=(x1, y1 + down, x2, y2 + down))
