"""Tables in the model's text, HTML or Markdown pipes → rows of cells → HTML, pipes, CSV; parsed, never trusted."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html.parser import HTMLParser

MOST_SPAN = 200
"""A cell that claims to span more is taken at this."""

_HTML = re.compile(r"<table\b.*?(?:</table\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_PIPES = re.compile(r"(?:^[ \t]*\|.*\|[ \t]*$\n?){2,}", re.MULTILINE)
_RULE = re.compile(r"[ \t]*\|(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*")


@dataclass(frozen=True)
class Cell:
    """Text of a cell, and how many columns and rows it spans."""

    text: str
    columns: int = 1
    rows: int = 1
    heading: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells as written: a cell that spans several rows stands in the first of them."""

    rows: tuple[tuple[Cell, ...], ...]

    @cached_property
    def places(self) -> dict[tuple[int, int], tuple[Cell, int, int]]:
        """Row and column → the cell that covers them, and how far from its first row and column they are."""
        placed: dict[tuple[int, int], tuple[Cell, int, int]] = {}
        for y, row in enumerate(self.rows):
            x = 0
            for cell in row:
                while (y, x) in placed:
                    x += 1
                for down in range(min(cell.rows, len(self.rows) - y)):
                    for across in range(cell.columns):
                        placed.setdefault((y + down, x + across), (cell, down, across))
        return placed

    @cached_property
    def width(self) -> int:
        """Columns."""
        return 1 + max((x for _, x in self.places), default=-1)

    @property
    def grid(self) -> list[list[str]]:
        """Rows of equally many texts; what a cell spans beyond its first place is blank."""
        first = {place: cell.text for place, (cell, down, across) in self.places.items() if not down and not across}
        return [[first.get((y, x), "") for x in range(self.width)] for y in range(len(self.rows))]


def find_tables(text: str) -> list[tuple[int, int, Table]]:
    """Start, end and content of each table in the text, in order; what holds no row is none."""
    found = find_html_tables(text)
    taken = [(start, end) for start, end, _ in found]
    for match in _PIPES.finditer(text):
        if _RULE.fullmatch(match[0].splitlines()[1]) and not any(
            a < match.end() and match.start() < b for a, b in taken
        ):
            found.append((match.start(), match.end(), _from_pipes(match[0])))
    return sorted((item for item in found if item[2].rows), key=lambda item: item[0])


def rewrite_tables(text: str, write: Callable[[str, Table], str]) -> str:
    """The text with what `write` makes of each table: of how it stands there, and of its content."""
    parts, end = [], 0
    for start, stop, table in find_tables(text):
        parts += [text[end:start], write(text[start:stop], table)]
        end = stop
    return "".join([*parts, text[end:]])


def find_html_tables(text: str) -> list[tuple[int, int, Table]]:
    """The same of HTML tables alone, also of those without rows."""
    return [(match.start(), match.end(), _from_html(match[0])) for match in _HTML.finditer(text)]


def to_html(table: Table) -> str:
    """One line of HTML, spans kept, texts escaped."""
    rows = ("".join(map(_html_cell, row)) for row in table.rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _html_cell(cell: Cell) -> str:
    tag = "th" if cell.heading else "td"
    spans = (f' {name}="{span}"' for name, span in (("colspan", cell.columns), ("rowspan", cell.rows)) if span > 1)
    return f"<{tag}{''.join(spans)}>{html.escape(cell.text, quote=False)}</{tag}>"


def to_pipes(table: Table) -> str:
    """A Markdown table; the first row is its head, spanned places are blank."""
    rows = [[text.replace("|", "\\|").replace("\n", " ") for text in row] for row in table.grid]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines[:1], "|" + " --- |" * len(rows[0]), *lines[1:]])


def to_csv(table: Table) -> str:
    """RFC 4180, with \\n line ends; a text that a spreadsheet would take for a formula is kept a text."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([map(_harmless, row) for row in table.grid])
    return out.getvalue()


def _harmless(text: str) -> str:
    formula = text[:1] in ("=", "@", "\t", "\r") or (
        text[:1] in ("+", "-") and not re.fullmatch(r"[+-][\d.,\s%]*", text)
    )
    return f"'{text}" if formula else text


# HTML and pipes → rows


@dataclass
class _Draft:
    cell: Cell
    parts: list[str] = field(default_factory=list)

    def finished(self) -> Cell:
        return replace(self.cell, text=" ".join("".join(self.parts).split()))


class _Rows(HTMLParser):
    """Collects rows and cells, whatever is left open or closed twice."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[Cell]] = []
        self._open: _Draft | None = None
        self._in_head = False

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self._settle()
            self.rows.append([])
        elif tag in ("td", "th"):
            self._settle()
            spans = dict(attrs)
            columns, rows = (_span(spans.get(name)) for name in ("colspan", "rowspan"))
            self._open = _Draft(Cell("", columns, rows, tag == "th" or self._in_head))
        elif tag in ("thead", "tbody"):
            self._in_head = tag == "thead"
        elif tag == "br" and self._open:
            self._open.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "table", "thead"):
            self._settle()
            self._in_head &= tag != "thead"

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open.parts.append(data)

    def _settle(self) -> None:
        if self._open:
            if not self.rows:
                self.rows.append([])
            self.rows[-1].append(self._open.finished())
            self._open = None

    def finished(self) -> Table:
        self._settle()
        return Table(tuple(tuple(row) for row in self.rows if row))


def _span(value: str | None) -> int:
    return min(MOST_SPAN, max(1, int(value))) if value and re.fullmatch(r"\d{1,6}", value) else 1


def _from_html(text: str) -> Table:
    parser = _Rows()
    parser.feed(text)
    parser.close()
    return parser.finished()


def _from_pipes(text: str) -> Table:
    lines = [line for line in text.strip().splitlines() if not _RULE.fullmatch(line)]
    return Table(tuple(tuple(_pipe_cells(line, index == 0)) for index, line in enumerate(lines)))


def _pipe_cells(line: str, heading: bool) -> Iterator[Cell]:
    for text in re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|")):
        yield Cell(text.strip().replace("\\|", "|"), heading=heading)
