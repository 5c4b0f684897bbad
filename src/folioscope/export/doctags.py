"""DocTags, docling's markup of layout and text: `<doctag><text><loc_…>…</text></doctag>`.

Boxes are whole numbers of a 500 by 500 grid; tables are written in OTSL. Source: docling-core, `DocTagsDocSerializer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from folioscope.export.plain import plain
from folioscope.export.tables import Cell, Table, find_tables
from folioscope.types import Box, Document, PageResult, Region

GRID = 500
_TAGS = {
    "title": "title",
    "sub_title": "section_header_level_1",
    "equation": "formula",
    "formula": "formula",
    "code": "code",
    "footnote": "footnote",
    "header": "page_header",
    "footer": "page_footer",
    "page_number": "page_footer",
    "caption": "caption",
    "image_caption": "caption",
    "figure_caption": "caption",
    "table_caption": "caption",
    "list": "list_item",
    "list_item": "list_item",
}
"""The tag of a label; others are text."""

_COUNTED = re.compile(r"\d+[.)] ")
_TAG_LIKE = re.compile(r"<(?=.*>)", re.DOTALL)


def doctags(document: Document) -> str:
    """The document in DocTags, a page break between pages."""
    pages = ["".join(f"{line}\n" for line in _page(page)) for page in document.pages]
    return "<doctag>" + "<page_break>\n".join(pages) + "</doctag>\n"


def _page(page: PageResult) -> Iterator[str]:
    for region in page.regions:
        tables = find_tables(region.text)
        where = "".join(_location(box, page.size) for box in ([region.box] if region.box else ()))
        if region.figure is not None:
            yield f"<picture>{where}{_clean(plain(region.text))}</picture>"
        elif tables:
            yield from (f"<otsl>{where}{_otsl(table)}</otsl>" for _, _, table in tables)
        elif region.text:
            yield from _texts(region, where)


def _texts(region: Region, where: str) -> Iterator[str]:
    tag = _TAGS.get(region.label, "text")
    text = _clean(plain(region.text))
    if tag != "list_item":
        yield f"<{tag}>{where}{text}</{tag}>"
        return
    lines = text.split("\n")
    counted = [_COUNTED.sub("", line, count=1) for line in lines if _COUNTED.match(line)]
    kind, items = ("ordered", counted) if len(counted) == len(lines) else ("unordered", lines)
    inside = "".join(f"<list_item>{where}{item.removeprefix('- ')}</list_item>" for item in items)
    yield f"<{kind}_list>{inside}</{kind}_list>"


def _location(box: Box, size: tuple[int, int]) -> str:
    places = (min(GRID, max(0, round(GRID * value / size[index % 2]))) for index, value in enumerate(box))
    return "".join(f"<loc_{place}>" for place in places)


def _otsl(table: Table) -> str:
    marks = {place: _otsl_cell(*covering) for place, covering in table.places.items()}
    rows = ("".join(marks.get((y, x), "<ecel>") for x in range(table.width)) for y in range(len(table.rows)))
    return "".join(f"{row}<nl>" for row in rows)


def _otsl_cell(cell: Cell, down: int, across: int) -> str:
    """Full, a head, empty; or continued from the left, from above, or from both."""
    if down or across:
        return "<lcel>" if not down else "<ucel>" if not across else "<xcel>"
    kind = ("ched" if cell.heading else "fcel") if cell.text else "ecel"
    return f"<{kind}>" + cell.text.replace("<", "&lt;")  # a cell ends at the next "<"


def _clean(text: str) -> str:
    """Without what docling's parser, which knows no entities, would take for a tag and drop; the rest as it stands."""
    return _TAG_LIKE.sub("&lt;", text)
