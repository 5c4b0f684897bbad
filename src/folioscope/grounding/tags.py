"""Grounded text, cut at its tags: characters → text and tags, with what is badly written repaired or left as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from folioscope.types import Box

GRID = 999
"""Boxes are integers 0..GRID of the page's width and height."""

FIGURE_LABELS = frozenset({"image", "figure"})
TABLE_LABELS = frozenset({"table"})
LABELS = (
    FIGURE_LABELS
    | TABLE_LABELS
    | {f"{kind}_{part}" for kind in ("image", "figure", "chart", "table", "code") for part in ("caption", "footnote")}
    | {"title", "sub_title", "text", "list", "list_item", "reference", "code", "algorithm", "chart", "seal"}
    | {"equation", "formula", "formula_number", "caption", "footnote", "header", "footer", "page_number"}
)
"""Labels known without being told; the model's own set is open."""

# A mark, what the token limit left of one at the end of the text, and the end itself.
_MARK = re.compile(r"<\|(/?(?:ref|det))\|>|(?:<\|/?(?:r(?:ef?)?|d(?:et?)?)?\|?)?\Z")
_BOX_LIST = re.compile(r"[\[\]\d\s,.+-]*")
_BOX_CHARACTERS = frozenset("[]0123456789,.+- \t")
_BOX = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"[+-]?\d{1,6}(?:\.\d{0,9})?")


@dataclass(frozen=True)
class Text:
    """Text outside marks; `start` and `end` are its characters in the raw text."""

    start: int
    end: int
    text: str

    def cut(self, start: int, end: int) -> Text:
        """The characters from `start` to `end` of this text, blanks at both ends removed."""
        text = self.text[start:end]
        start += len(text) - len(text.lstrip())
        text = text.strip()
        return Text(self.start + start, min(self.start + start + len(text), self.end), text)


@dataclass(frozen=True)
class Tag:
    """A ref, a det, or a ref with its dets.

    Attributes:
        start: First character in the raw text; `end` is the one after the last.
        ref: What stands in the ref, "" without one.
        boxes: Fractions of the page, 0..1, clipped, ordered and not empty.
        located: Whether there is a det at all, good or bad.
        words: Whether the ref holds words of the page rather than a label.
        figure: Number of the first box among the figure boxes of the page, or None if this is no figure.
    """

    start: int
    end: int
    ref: str = ""
    boxes: tuple[Box, ...] = ()
    located: bool = False
    words: bool = False
    figure: int | None = None

    @property
    def label(self) -> str:
        return self.ref.strip() or "text"

    @property
    def kind(self) -> str:
        return self.label.lower()


def cut_at_tags(raw: str, words_in_refs: bool | None) -> Iterator[Text | Tag]:
    """Text and tags in turn; stray marks vanish, and words without a place are text. See `grounding.parse`."""
    at = figures = 0
    for tag in _tags(raw):
        if tag.start > at:
            yield Text(at, tag.start, raw[at : tag.start])
        at = tag.end
        if not tag.located and not tag.ref.strip():
            continue
        if not _is_label(tag, words_in_refs):
            yield replace(tag, words=True) if tag.located else Text(tag.start, tag.end, tag.ref)
        elif tag.kind in FIGURE_LABELS and tag.boxes:
            yield replace(tag, figure=figures)
            figures += len(tag.boxes)
        else:
            yield tag
    if at < len(raw):
        yield Text(at, len(raw), raw[at:])


def _is_label(tag: Tag, words_in_refs: bool | None) -> bool:
    """No label is a phrase, so a phrase stays text even where labels are expected."""
    if not tag.ref.strip():
        return True
    if words_in_refs:
        return False
    return tag.kind in LABELS or (words_in_refs is False and tag.located and tag.kind.isidentifier())


def _tags(raw: str) -> Iterator[Tag]:
    """Every ref with the dets right after it, every det alone; a mark that begins neither is a tag of nothing."""
    marks = list(_MARK.finditer(raw))
    index = 0
    while (mark := marks[index]) is not marks[-1]:
        ref, at = "", mark.start()
        if mark[1] != "det":
            at, index = mark.end(), index + 1
        if mark[1] == "ref":
            inside, closed = raw[at : marks[index].start()], marks[index][1] == "/ref"
            if closed or inside.strip().lower() in LABELS:
                ref, at = inside, marks[index].end() if closed else marks[index].start()
                index += closed
        boxes, end, index = _boxes_after(raw, marks, index, at)
        yield Tag(mark.start(), end, ref, tuple(boxes), located=end > at)


def _boxes_after(raw: str, marks: Sequence[re.Match[str]], index: int, at: int) -> tuple[list[Box], int, int]:
    """Boxes of the dets that follow with blanks at most between; where they end, and the index of the next mark."""
    boxes: list[Box] = []
    while marks[index][1] == "det" and not raw[at : marks[index].start()].strip():
        start, following = marks[index].end(), marks[index + 1]
        closed = following[1] == "/det"
        at, index = _box_list_end(raw, start, following.start(), closed), index + 1
        boxes += _read_boxes(raw[start:at])
        if closed and not raw[at : following.start()].strip():
            at, index = following.end(), index + 1
    return boxes, at, index


def _box_list_end(raw: str, start: int, stop: int, closed: bool) -> int:
    """Where the box list at `start` ends; from there to `stop` is text.

    A closed det may hold anything in brackets that match on one line: numbers that are none are markup still. Else
    the list ends with the last character that a box list can have.
    """
    if closed and _BOX_LIST.fullmatch(raw, start, stop):
        return stop
    depth, limit = 0, stop
    for at in range(start, stop):
        char = raw[at]
        depth += {"[": 1, "]": -1}.get(char, 0)
        if char == "]" and depth <= 0:
            return at + 1
        if depth == 0 and not char.isspace():
            return start
        if depth > 0 and char not in _BOX_CHARACTERS:
            limit = min(limit, at)
            if char == "\n" or not closed:
                break
    return limit if depth > 0 else start


def _read_boxes(payload: str) -> Iterator[Box]:
    """The lists of four numbers, as fractions of the page: clipped, ordered, and not empty."""
    for found in _BOX.finditer(payload):
        numbers = [number.strip() for number in found[1].split(",")]
        if len(numbers) == 4 and all(_NUMBER.fullmatch(number) for number in numbers):
            x1, y1, x2, y2 = (min(max(float(number) / GRID, 0.0), 1.0) for number in numbers)
            if x1 != x2 and y1 != y2:
                yield min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
