"""Tables that go on over pages: which of them are one, and the document with each of them whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

from folioscope.export.tables import Table, find_tables, rewrite_tables, to_html, to_pipes
from folioscope.types import Document, PageResult, Region

FURNITURE = frozenset({"header", "footer", "page_header", "page_footer", "page_number", "footnote"})
"""Labels of what stands between the end of a table on one page and the rest of it on the next."""


@dataclass(frozen=True)
class Part:
    """A table on a page: the page's place in the document, the table's on the page, from 0; and how it is written."""

    page: int
    place: int
    table: Table
    html: bool


def document_tables(document: Document) -> list[Table]:
    """The tables of all pages; one that goes on at the head of the next page, in as many columns, is one."""
    return [whole(parts) for parts in _tables(document)]


def with_joined_tables(document: Document) -> Document:
    """The document with all rows of a table on the page where it begins, in Markdown and in regions."""
    written: dict[int, dict[int, str]] = {}
    for first, *rest in (parts for parts in _tables(document) if len(parts) > 1):
        table = whole([first, *rest])
        written.setdefault(first.page, {})[first.place] = to_html(table) if first.html else to_pipes(table)
        for part in rest:
            written.setdefault(part.page, {})[part.place] = ""
    pages = (_page(page, written.get(index, {})) for index, page in enumerate(document.pages))
    return replace(document, pages=tuple(pages))


def whole(parts: list[Part]) -> Table:
    """The rows of all parts; a head that only repeats the first's is left out."""
    first, *rest = (part.table.rows for part in parts)
    head = [cell.text for cell in first[0]]
    return Table(first + tuple(row for rows in rest for row in rows[[cell.text for cell in rows[0]] == head :]))


def _tables(document: Document) -> list[list[Part]]:
    """Each table of the document, in its parts."""
    tables: list[list[Part]] = []
    open_ended = False
    for index, page in enumerate(document.pages):
        text, found = page.markdown, find_tables(page.markdown)
        for place, (start, _, table) in enumerate(found):
            part = Part(index, place, table, text[start] == "<")
            at_the_head = place == 0 and _only_furniture(page, text[:start])
            if at_the_head and open_ended and _goes_on(tables[-1][0].table, part):
                tables[-1].append(part)
            else:
                tables.append([part])
        open_ended = bool(found) and _only_furniture(page, text[found[-1][1] :])
    return tables


def _only_furniture(page: PageResult, text: str) -> bool:
    """Whether the text is nothing but headers, footers and page numbers."""
    for region in page.regions:
        if region.label.lower() in FURNITURE and region.text:
            text = text.replace(region.text, "", 1)
    return not text.strip()


def _goes_on(first: Table, part: Part) -> bool:
    """Whether a table has the columns of the one that ends the page before, and no head of its own that differs.

    In pipes every table has a head, so there it may be a row like others.
    """
    rows = first.rows[0], part.table.rows[0]
    heads = [[cell.text for cell in row] for row in rows]
    own_head = part.html and all(cell.heading for cell in rows[1]) and heads[0] != heads[1]
    return first.width == part.table.width > 1 and not own_head


def _page(page: PageResult, written: Mapping[int, str]) -> PageResult:
    if not written:
        return page
    markdown, there = _replaced(page.markdown, written, 0)
    regions = tuple(_regions(page, written))
    counted = sum(len(find_tables(region.text)) for region in page.regions)
    return replace(page, markdown=markdown, regions=regions if counted == there else page.regions)


def _regions(page: PageResult, written: Mapping[int, str]) -> Iterator[Region]:
    place = 0
    for region in page.regions:
        text, place = _replaced(region.text, written, place)
        yield replace(region, text=text.strip()) if text != region.text else region


def _replaced(text: str, written: Mapping[int, str], place: int) -> tuple[str, int]:
    """The text with some of its tables as they are written, the first being the one at `place`; the next place."""
    places = count(place)

    def write(stands: str, _: Table) -> str:
        line_end = "\n" if stands.endswith("\n") else ""
        return written[at] + line_end if (at := next(places)) in written else stands

    return rewrite_tables(text, write), next(places)
