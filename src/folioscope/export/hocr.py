"""hOCR 1.2: the page as XHTML with the box of every block, line and word. Source: the hOCR specification, 1.2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from folioscope.export.files import xml_text
from folioscope.export.placed import TextBlock, TextLine, Word, placed_blocks
from folioscope.types import Box, Document, PageResult

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="und">
<head>
<title>{title}</title>
<meta http-equiv="Content-Type" content="text/html;charset=utf-8" />
<meta name="ocr-system" content="folioscope" />
<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_photo ocr_line ocrx_word ocrp_wconf" />
<meta name="ocr-number-of-pages" content="{count}" />
<meta name="ocr-langs" content="unknown" />
<meta name="ocr-scripts" content="unknown" />
</head>
<body>
"""


def hocr(document: Document) -> str:
    """The document as hOCR text; boxes are whole pixels of the page, words without a known box have a reckoned one."""
    pages = "".join(_page(page) for page in document.pages)
    head = _HEAD.format(title=escape(xml_text(document.source)), count=len(document.pages))
    return f"{head}{pages}</body>\n</html>\n"


def _page(page: PageResult) -> str:
    number, (width, height) = page.number, page.size
    image = xml_text(page.source).replace('"', "'")
    title = f'image "{image}"; bbox 0 0 {width} {height}; ppageno {number - 1}'
    blocks = "".join(_block(block, f"{number}_{index}") for index, block in enumerate(placed_blocks(page), 1))
    return f"<div class='ocr_page' id='page_{number}' title={quoteattr(title)}>\n{blocks}</div>\n"


def _block(block: TextBlock, number: str) -> str:
    lines = "".join(_line(line, f"{number}_{index}") for index, line in enumerate(block.lines, 1))
    kind = "ocr_carea" if block.lines else "ocr_photo"
    label = quoteattr(xml_text(block.region.label))
    return f"<div class='{kind}' id='block_{number}' title='{_bbox(block.box)}' data-label={label}>\n{lines}</div>\n"


def _line(line: TextLine, number: str) -> str:
    words = " ".join(_words(line.words, number, line.confidence))
    return f"<span class='ocr_line' id='line_{number}' title='{_bbox(line.box)}'>{words}</span><br />\n"


def _words(words: Iterable[Word], number: str, confidence: float | None) -> Iterator[str]:
    sure = "" if confidence is None else f"; x_wconf {round(100 * confidence)}"
    for index, word in enumerate(words, 1):
        text = escape(xml_text(word.text))
        yield f"<span class='ocrx_word' id='word_{number}_{index}' title='{_bbox(word.box)}{sure}'>{text}</span>"


def _bbox(box: Box) -> str:
    return "bbox " + " ".join(str(round(value)) for value in box)
