"""Grounded text → regions on the page and clean Markdown: a parser of one pass that evaluates nothing.

The published model writes a page as blocks,

    <|ref|>label<|/ref|><|det|>[[x1, y1, x2, y2], …]<|/det|>
    content

with boxes in 0..999 of the page. What the model writes badly (a tag cut by the token limit, a stray or doubled mark,
numbers that are none) costs its box at most, never a word of text.

Content belongs to the ref before it. Several refs may stand in a row before their content: then each `<table>…</table>`
goes to the next table ref and the other text to the refs that are neither table nor figure ("table, table_caption,
caption text, HTML"). Text that no ref claims becomes a region "text" without a box.

A ref holds either a *label* of the layout, which the Markdown leaves out, or *words* read on the page (prompts `ocr`
and `locate`), which stay in the Markdown and are the region's text. The parser cannot tell the label "table" from an
answer about the word "table"; the reader, who knows the prompt, says which (`words_in_refs`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from folioscope.grounding.tags import FIGURE_LABELS, TABLE_LABELS, Tag, Text, cut_at_tags
from folioscope.types import Box, Line, Region

_CLOSING = frozenset(".,;:!?)")
_LINE = re.compile(r"\S(?:[^\n]*\S)?")
_TABLE_TAG = re.compile(r"<(/?)table\b[^<>]*>?", re.IGNORECASE)


@dataclass(frozen=True)
class Grounded:
    """A page's regions in the order of their text, and its Markdown with links to `images/{k}.jpg`."""

    regions: tuple[Region, ...]
    markdown: str


def parse(
    raw: str,
    size: tuple[int, int],
    *,
    points: tuple[float, float] | None = None,
    confidence: Callable[[int, int], float | None] | None = None,
    words_in_refs: bool | None = None,
) -> Grounded:
    """Read the model's text. Raises for no text; time is linear in its length.

    Args:
        raw: The model's text with every special token, without the final end-of-sequence token.
        size: Width and height of the original page in pixels; boxes are scaled and clipped to it.
        points: Width and height of the page in PDF points, to get `boxes_points`.
        confidence: Called with (start, end), a region's characters in `raw`: ref, det and content, or the content
            alone where other refs or their text stand between; and with a line's.
        words_in_refs: True when refs hold words of the page (`ocr`, `locate`), False when they hold labels
            (`markdown`), None to take `LABELS` for labels and all else for words.

    Returns:
        Regions and Markdown. A figure's boxes are numbered through the page and have a link each; `Region.figure`
        is the number of the first.
    """
    pieces = list(cut_at_tags(raw, words_in_refs))
    regions = tuple(_region(draft, size, points, confidence or _unknown) for draft in _drafts(pieces))
    return Grounded(regions, _markdown(pieces))


def _unknown(_start: int, _end: int) -> None:
    """The confidence of what was not measured."""


def tidy(markdown: str) -> str:
    r"""Markdown without blanks at line ends or two blank lines in a row, with := for \coloneqq and =: for \eqqcolon."""
    lines = [line.rstrip() for line in markdown.replace("\\coloneqq", ":=").replace("\\eqqcolon", "=:").split("\n")]
    return "\n".join(line for before, line in zip(["", *lines], lines, strict=False) if before or line).strip()


# Tags and text → regions


@dataclass(frozen=True)
class _Draft:
    """A region before it is scaled to its page."""

    label: str
    start: int
    end: int
    text: str = ""
    boxes: tuple[Box, ...] = ()
    figure: int | None = None
    text_start: int = 0


def _region(
    draft: _Draft,
    size: tuple[int, int],
    points: tuple[float, float] | None,
    confidence: Callable[[int, int], float | None],
) -> Region:
    boxes = _scaled(draft.boxes, size)
    return Region(
        label=draft.label,
        boxes=boxes,
        text=draft.text,
        confidence=confidence(draft.start, draft.end),
        boxes_points=_scaled(draft.boxes, points) if points else (),
        figure=draft.figure,
        lines=tuple(_lines(draft, boxes, confidence)),
    )


def _lines(draft: _Draft, boxes: Sequence[Box], confidence: Callable[[int, int], float | None]) -> Iterator[Line]:
    """The lines of the text that are not blank; where a line is, is known if it is the only one and has one box."""
    box = boxes[0] if len(boxes) == 1 and "\n" not in draft.text else None
    for found in _LINE.finditer(draft.text):
        start, end = (draft.text_start + place for place in found.span())
        yield Line(found[0], confidence(start, end), box)


def _drafts(pieces: Iterable[Text | Tag]) -> Iterator[_Draft]:
    """Regions in order: a row of refs takes the text up to the next ref."""
    row: list[Tag] = []
    content: list[Text] = []
    for piece in pieces:
        if isinstance(piece, Text):
            content.append(piece)
            continue
        if piece.words or any(text.text.strip() for text in content):
            yield from _settle(row, content)
            row = []
        content = []
        if piece.words:
            start = piece.start + len("<|ref|>")
            yield _Draft(piece.label, piece.start, piece.end, piece.label, piece.boxes, text_start=start)
        else:
            row.append(piece)
    yield from _settle(row, content)


def _settle(row: Sequence[Tag], content: Sequence[Text]) -> Iterator[_Draft]:
    """The refs without text first, then each part of the content with the ref it belongs to, if any."""
    parts = _parts(content, any(tag.kind in TABLE_LABELS for tag in row))
    owners = _owners(row, parts)
    owned = {id(tag) for tag in owners}
    for tag in row:
        if id(tag) not in owned and tag.boxes:
            yield _Draft(tag.label, tag.start, tag.end, boxes=tag.boxes, figure=tag.figure)
    for index, ((part, is_table), tag) in enumerate(zip(parts, owners, strict=True)):
        if tag is None:
            label = "table" if is_table else "text"
            yield _Draft(label, part.start, part.end, part.text, text_start=part.start)
        else:
            adjacent = index == 0 and tag is row[-1]
            start = tag.start if adjacent else part.start
            yield _Draft(tag.label, start, part.end, part.text, tag.boxes, tag.figure, part.start)


def _owners(row: Sequence[Tag], parts: Sequence[tuple[Text, bool]]) -> list[Tag | None]:
    """Tables to table refs and text to text refs, in order; text without any table goes to the last ref it can."""
    tables = [tag for tag in row if tag.kind in TABLE_LABELS]
    others = [tag for tag in row if tag.kind not in TABLE_LABELS | FIGURE_LABELS]
    if not any(is_table for _, is_table in parts):
        return [(others or [None, *row])[-1] for _ in parts]
    next_table, next_other = iter(tables), iter(others)
    return [next(next_table if is_table else next_other, None) for _, is_table in parts]


def _parts(content: Sequence[Text], divide: bool) -> list[tuple[Text, bool]]:
    """The content, or its `<table>…</table>` (True) and the text around (False); blank parts are left out."""
    if not content:
        return []
    whole = Text(content[0].start, content[-1].end, _join(text.text for text in content))
    cuts, depth = [0], 0
    for found in _TABLE_TAG.finditer(whole.text) if divide else ():
        depth = max(depth + (-1 if found[1] else 1), 0)
        if depth == 1 and not found[1]:
            cuts.append(found.start())
        elif depth == 0 and len(cuts) % 2 == 0:
            cuts.append(found.end())
    cuts.append(len(whole.text))
    parts = [(whole.cut(start, end), index % 2 == 1) for index, (start, end) in enumerate(pairwise(cuts))]
    return [(part, is_table) for part, is_table in parts if part.text]


def _scaled(boxes: Sequence[Box], size: tuple[float, float]) -> tuple[Box, ...]:
    width, height = size
    return tuple((x1 * width, y1 * height, x2 * width, y2 * height) for x1, y1, x2, y2 in boxes)


# Tags and text → Markdown


def _markdown(pieces: Iterable[Text | Tag]) -> str:
    """Text and words as they stand; labels begin a block, figures are links."""
    return tidy(_join(piece.text if isinstance(piece, Text) else _tag_markdown(piece) for piece in pieces))


def _tag_markdown(tag: Tag) -> str:
    if tag.words:
        return tag.ref
    numbers = range(tag.figure, tag.figure + len(tag.boxes)) if tag.figure is not None else ()
    return "\n\n" + "".join(f"![](images/{number}.jpg)\n" for number in numbers) + "\n"


def _join(parts: Iterable[str]) -> str:
    """The parts in a row, with a blank where words would run together because a mark between them is gone."""
    joined = [""]
    for part in parts:
        last = joined[-1][-1:]
        if part[:1].isalnum() and (last.isalnum() or last in _CLOSING):
            joined.append(" ")
        joined += [part] if part else []
    return "".join(joined)
