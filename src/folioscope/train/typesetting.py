"""Words into lines: broken at blanks, no wider than the column, behind bullets where there are items."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from folioscope.train.fonts import Typeface


class Row(NamedTuple):
    """One line set. `spoken` is `text` as the answer writes it, character for character; `indent` in pixels."""

    text: str
    spoken: str
    indent: float = 0.0


def paragraph(
    words: Iterator[str], face: Typeface, width: float, count: int, rng: np.random.Generator, indent: float = 0.0
) -> list[Row]:
    """`count` lines no wider than `width` pixels; half of the time the last one is cut short somewhere."""
    lines = _break_lines(words, face, width - indent, count)
    last = lines[-1].split(" ")
    if rng.random() < 0.5:
        lines[-1] = " ".join(last[: int(rng.integers(1, len(last) + 1))])
    return [Row(line, line, indent) for line in lines]


def bulleted(
    words: Iterator[str], face: Typeface, width: float, count: int, rng: np.random.Generator, bullet: str
) -> list[Row]:
    """`count` lines of items, one or two lines each, with `bullet` in front and spoken as "-"."""
    indent = face.width(bullet + " ")
    rows: list[Row] = []
    while len(rows) < count:
        size = min(count - len(rows), 1 + int(rng.random() < 0.25))
        first, *rest = paragraph(words, face, width, size, rng, indent)
        rows += [Row(f"{bullet} {first.text}", f"- {first.text}"), *rest]
    return rows


def ink_width(face: Typeface, text: str) -> float:
    """Pixels from the first pen position to the end of the line's ink, rounded up."""
    return face.width(text) + _lean(face, text)


def _lean(face: Typeface, text: str) -> float:
    """How far the last glyph reaches out of its advance, as italics do, and a pixel for rounding."""
    advance, _, _, right, _ = face.glyph(text[-1])
    return max(0.0, right - advance) + 1


def _break_lines(words: Iterator[str], face: Typeface, width: float, count: int) -> list[str]:
    lines: list[str] = []
    line = _fitting_word(words, face, width)
    filled = face.width(line)
    while True:
        word = _fitting_word(words, face, width)
        more = face.width(" " + word)
        if filled + more + _lean(face, word) <= width:
            line, filled = f"{line} {word}", filled + more
            continue
        lines.append(line)
        if len(lines) == count:
            return lines
        line, filled = word, face.width(word)


def _fitting_word(words: Iterator[str], face: Typeface, width: float) -> str:
    """The next word that fits; when ten in a row are too wide, the beginning of the last of them."""
    word = ""
    for word in itertools.islice(words, 10):
        if ink_width(face, word) <= width:
            return word
    while len(word) > 1 and ink_width(face, word) > width:
        word = word[:-1]
    return word
