"""Where things stand on a training page: blocks of lines, broken at blanks, placed so that all of them fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from folioscope.train import degrade, fonts, tables, texts
from folioscope.train.layout import NARROWEST, Block, Line, PageStyle, Plan
from folioscope.train.typesetting import Row, bulleted, ink_width, paragraph

_NARROWEST_COLUMN = 9  # times the size of the type
_BULLETS = "•–-"


@dataclass
class _Column:
    """The strip of page being filled, top to bottom; `headed` if it needs no title."""

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
    headed: bool = False


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
    strips = _halved(column) if style.columns and rng.random() < style.columns else [column]
    blocks = tuple(block for strip in strips for block in _filled(strip))
    return Plan((width, height), blocks, angle, damaged)


def _halved(column: _Column) -> list[_Column]:
    """A strip for the title, without room for more, and two beside one another below it; or the column as it is."""
    gutter = round(column.body_px * column.rng.uniform(1, 2))
    width = (column.width - gutter) // 2
    if width < _NARROWEST_COLUMN * column.body_px or column.lines_left < 4:
        return [column]
    if column.rng.random() < 0.6:
        _add_text(column, "title", 1)
    left, right = column.left, column.left + width + gutter
    count, top = -(-column.lines_left // 2), column.top
    halves = [replace(column, left=x, width=width, lines_left=count, blocks=[], headed=True) for x in (left, right)]
    return [replace(column, lines_left=0, bottom=top), *halves]


def _filled(column: _Column) -> tuple[Block, ...]:
    kept = _kept_below(column)
    column.bottom -= kept
    _fill(column)
    column.bottom += kept
    if kept and (height := min(kept, column.bottom - column.top)) > kept / 2:
        _put_picture(column, _picture_width(column), height)
    return _spread(column.blocks, column.bottom - column.top, column.rng)


def _kept_below(column: _Column) -> int:
    """Height of the picture that is to stand below all else, or 0."""
    if not column.style.endings or column.rng.random() >= column.style.endings:
        return 0
    height = _picture_height(column)
    return height if column.bottom - column.top >= height + 3 * column.body_px else 0


def _page_size(style: PageStyle, rng: np.random.Generator, text_height: float) -> tuple[int, int]:
    side = style.side
    longest = side if rng.random() < 0.75 else int(side * rng.uniform(NARROWEST, 1))
    other = int(side * rng.uniform(NARROWEST, 1)) if rng.random() < 0.85 else longest
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
    if not column.headed and column.lines_left >= 2 and rng.random() < 0.6:
        _add_text(column, "title", int(rng.integers(1, 2 + (column.lines_left > 3))))
    picture_due = rng.random() < 0.3
    if column.style.tables and rng.random() < column.style.tables:
        _add_table(column)
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
        heads_page = not column.headed and not any(block.lines for block in column.blocks)
        _add_text(column, "title" if heads_page else "sub_title", 1)
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


def _add_table(column: _Column) -> None:
    """Two to four columns and up to six rows, where there is room for two of each."""
    rng = column.rng
    face, type_face = _choose_face(column, "table")
    step = round((type_face.ascent + type_face.descent) * rng.uniform(1.1, 1.4))
    most = min((column.bottom - column.top - 2) // step, column.lines_left, 6)
    widest = min(column.width // (5 * column.body_px), 4)
    if most < 2 or widest < 2:
        return
    size = int(rng.integers(2, widest + 1)), int(rng.integers(2, most + 1))
    stream = texts.word_stream(rng, column.style.texts, max(0.4, column.style.random_share), fonts.alphabet(face))
    table = tables.typeset(stream, type_face, size, column.width, step, rng)
    lines = [
        Line(text, text, column.left + round(x), column.top + row * step + type_face.ascent + 2, type_face)
        for row, cells in enumerate(table.rows)
        for text, x in cells
    ]
    rules = tuple(_shifted(rule, column.left, column.top) for rule in table.rules)
    column.blocks.append(Block("table", tuple(lines), cells=size[0], rules=rules))
    column.lines_left -= size[1]
    column.top += size[1] * step + round(step * rng.uniform(0.3, 0.8))


def _choose_face(column: _Column, label: str) -> tuple[fonts.Face, fonts.Typeface]:
    rng, (low, high) = column.rng, column.style.type_px
    heading = label in ("title", "sub_title")
    faces = column.designs[int(heading)]
    face = faces[rng.integers(len(faces))]
    if column.style.old_figures and rng.random() < column.style.old_figures:
        face = fonts.with_old_figures(face)
    grown = {"title": rng.uniform(1.25, 1.7), "sub_title": rng.uniform(1.15, 1.25)}.get(label, 1)
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
    height, width = _picture_height(column), _picture_width(column)
    room = column.bottom - column.top
    if (room - height < 3 * column.body_px and column.lines_left) or room < height:
        return
    _put_picture(column, width, height)


def _picture_height(column: _Column) -> int:
    return round(column.style.side * column.rng.uniform(0.12, 0.3))


def _picture_width(column: _Column) -> int:
    return round(column.width * column.rng.uniform(0.35, 1))


def _put_picture(column: _Column, width: int, height: int) -> None:
    left = column.left + int(column.rng.integers(0, column.width - width + 1))
    column.blocks.append(Block("image", box=(left, column.top, left + width, column.top + height)))
    column.top += height + int(column.rng.integers(4, 4 + column.body_px))


def _spread(blocks: list[Block], room: int, rng: np.random.Generator) -> tuple[Block, ...]:
    """Move the blocks down by random parts of the room left over below them."""
    if room <= 0 or not blocks:
        return tuple(blocks)
    shares = np.sort(rng.integers(0, room + 1, size=len(blocks)))
    if rng.random() < 0.6:
        shares[:] = shares[0]
    return tuple(_moved(block, int(share)) for block, share in zip(blocks, shares, strict=True))


def _moved(block: Block, down: int) -> Block:
    lines = tuple(replace(line, baseline=line.baseline + down) for line in block.lines)
    rules = tuple(_shifted(rule, 0, down) for rule in block.rules)
    return replace(block, lines=lines, rules=rules, box=block.box and _shifted(block.box, 0, down))


def _shifted(corners: tables.Segment, right: int, down: int) -> tables.Segment:
    x1, y1, x2, y2 = corners
    return x1 + right, y1 + down, x2 + right, y2 + down
