"""HTML that looks like the page: every block where it stands, over nothing or over the picture of its page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from folioscope.export.figures import data_url, figure_name, pixel_box
from folioscope.export.files import xml_text
from folioscope.export.plain import plain
from folioscope.export.tables import find_tables, to_html
from folioscope.types import Box, Document, PageResult, Region

_STYLE = """
body { margin: 0; background: #ddd; font-family: Georgia, "Times New Roman", serif; }
.page { position: relative; width: min(100%, 60rem); margin: 1rem auto; background: #fff; container-type: inline-size; }
.block { position: absolute; overflow: hidden; white-space: pre-line; line-height: 1.15; }
.block img { width: 100%; height: 100%; object-fit: contain; }
.block table { border-collapse: collapse; width: 100%; }
.block td, .block th { border: 1px solid #999; padding: 0 .3em; vertical-align: top; }
.flow { padding: 2%; white-space: pre-line; }
h1, h2, h3 { margin: 0; font-size: inherit; }
"""
_HEADINGS = {"title": "h1", "sub_title": "h2"}
_HEADING_MARK = re.compile(r"^#{1,6}\s+", re.MULTILINE)


def html_document(document: Document, stem: str, figures: str = "link") -> str:
    """The document as one HTML file; figures, as `ExportOptions` has them, link to those of `figure_files`."""
    pages = "\n".join(_page(page, stem, figures) for page in document.pages)
    title = html.escape(document.source)
    head = f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<title>{title}</title>'
    head += f"\n<style>{_STYLE}</style>"
    return xml_text(f"<!doctype html>\n<html>\n<head>\n{head}\n</head>\n<body>\n{pages}\n</body>\n</html>\n")


def _page(page: PageResult, stem: str, figures: str) -> str:
    width, height = page.size
    blocks = "\n".join(part for region in page.regions for part in _blocks(page, region, stem, figures))
    return (
        f'<section class="page" id="page-{page.number}" style="aspect-ratio: {width} / {height}">\n{blocks}\n</section>'
    )


def _blocks(page: PageResult, region: Region, stem: str, figures: str) -> Iterator[str]:
    label = html.escape(region.label)
    if region.figure is not None and (page.pixels or figures == "placeholder"):
        for index, box in enumerate(region.boxes):
            place = f'class="block" style="{_place(box, page.size)}"'
            shown = _figure(page, box, figure_name(stem, page.number, region.figure + index), figures)
            yield f'<div {place} data-label="{label}">{shown}</div>'
    if region.text:
        tag = _HEADINGS.get(region.label, "div")
        place = (
            f'class="block" style="{_place(region.box, page.size)}{_type_size(region, page)}"'
            if region.box
            else 'class="flow"'
        )
        yield f'<{tag} {place} data-label="{label}">{_content(region.text)}</{tag}>'


def _figure(page: PageResult, box: Box, name: str, figures: str) -> str:
    """What stands in a figure's place."""
    if figures == "placeholder":
        return "<!-- figure -->"
    embedded = page.image if figures == "embed" else None
    source = data_url(embedded, pixel_box(box, page.size)) if embedded else html.escape(name)
    return f'<img src="{source}" alt="">'


def _place(box: Box, size: tuple[int, int]) -> str:
    left, top, right, bottom = (100 * value / size[index % 2] for index, value in enumerate(box))
    return f"left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%"


def _type_size(region: Region, page: PageResult) -> str:
    """Type that fills the box: of the page's width, by the box's area for each character and by its lines."""
    assert region.box
    left, top, right, bottom = region.box
    text = plain(region.text)
    by_area = ((right - left) * (bottom - top) / max(1, len(text)) / 0.62) ** 0.5
    by_lines = (bottom - top) / max(1, text.count("\n") + 1) / 1.15
    return f";font-size:{100 * min(by_area, by_lines) / page.size[0]:.2f}cqw"


def _content(markdown: str) -> str:
    """Tables as tables, all else as text; nothing of the model's HTML passes."""
    parts, end = [], 0
    for start, stop, table in find_tables(markdown):
        parts += [html.escape(plain(markdown[end:start]), quote=False), to_html(table)]
        end = stop
    return "".join([*parts, html.escape(plain(_HEADING_MARK.sub("", markdown[end:])), quote=False)])
