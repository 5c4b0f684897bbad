"""The text that a PDF holds itself: how small its type is, and its lines with their places."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from pypdfium2 import PdfPage, PdfTextPage, raw

from folioscope.types import Box, Line, Region, hull

SAMPLED = 500
"""Characters looked at to find how small the type is."""

SMALL = 0.1
"""The share of characters that may be smaller than what counts as the page's smallest type: indices, footnote marks."""

PARAGRAPH_GAP = 0.8
"""Lines nearer to each other than this part of their height, one above the other, are a paragraph."""


def smallest_type(page: PdfPage) -> float | None:
    """Height in points of letters and digits in the page's smallest type, or None without text."""
    with closing(page.get_textpage()) as text:
        count = text.count_chars()
        places = range(0, count, max(1, count // SAMPLED))
        letters = [place for place in places if chr(raw.FPDFText_GetUnicode(text, place)).isalnum()]
        boxes = [text.get_charbox(place) for place in letters]
    # the longer side, since text may stand upright or not
    heights = sorted(max(top - bottom, right - left) for left, bottom, right, top in boxes)
    return heights[int(SMALL * len(heights))] if heights else None


@dataclass
class _Words:
    """A line as it grows; its box in pixels of the page."""

    text: str = ""
    boxes: list[Box] = field(default_factory=list)

    @property
    def box(self) -> Box:
        return hull(self.boxes)


def text_regions(page: PdfPage, size: tuple[int, int]) -> tuple[Region, ...]:
    """The page's text in its own order, a region a paragraph; boxes in pixels of the page drawn in `size`."""
    with closing(page.get_textpage()) as text:
        lines = list(_lines(page, text, size))
    paragraphs: list[list[_Words]] = []
    for line in lines:
        if paragraphs and _goes_on(paragraphs[-1][-1].box, line.box):
            paragraphs[-1].append(line)
        else:
            paragraphs.append([line])
    return tuple(_region(paragraph, size) for paragraph in paragraphs)


def _lines(page: PdfPage, text: PdfTextPage, size: tuple[int, int]) -> Iterator[_Words]:
    line = _Words()
    for place in range(text.count_chars()):
        character = chr(raw.FPDFText_GetUnicode(text, place))
        if character in "\r\n":
            if line.boxes:
                yield line
            line = _Words()
        elif character.isprintable():
            line.text += character
            if not character.isspace():
                line.boxes.append(_in_pixels(page, text.get_charbox(place), size))
    if line.boxes:
        yield line


def _in_pixels(page: PdfPage, box: tuple[float, float, float, float], size: tuple[int, int]) -> Box:
    """Rotation and crop box are pdfium's to reckon with."""
    left, bottom, right, top = box
    x, y = ctypes.c_int(), ctypes.c_int()
    corners: list[tuple[int, int]] = []
    for across, up in ((left, top), (right, bottom)):
        raw.FPDF_PageToDevice(page, 0, 0, *size, 0, across, up, ctypes.byref(x), ctypes.byref(y))
        corners.append((x.value, y.value))
    (x1, y1), (x2, y2) = corners
    return float(min(x1, x2)), float(min(y1, y2)), float(max(x1, x2)), float(max(y1, y2))


def _goes_on(above: Box, below: Box) -> bool:
    """Whether a line stands right under another."""
    height = max(above[3] - above[1], below[3] - below[1])
    overlap = min(above[2], below[2]) > max(above[0], below[0])
    return overlap and -height < below[1] - above[3] < PARAGRAPH_GAP * height


def _region(paragraph: Sequence[_Words], size: tuple[int, int]) -> Region:
    lines = tuple(Line(words.text.strip(), None, _clipped(words.box, size)) for words in paragraph)
    around = hull([words.box for words in paragraph])
    return Region("text", (_clipped(around, size),), "\n".join(line.text for line in lines), lines=lines)


def _clipped(box: Box, size: tuple[int, int]) -> Box:
    (x1, y1, x2, y2), (width, height) = box, size
    return min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)
