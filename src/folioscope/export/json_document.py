"""A document as JSON, schema `folioscope.document/1`, which `document.schema.json` beside this file puts down.

    {schema, source, markdown, pages: [
        {number, size: [width, height], points: [width, height] | null, status, error: string | null,
         confidence: 0..1 | null, coverage: 0..1 | null, doubts: [doubt],
         attempts: [{step, finish, doubts, confidence, coverage, output_tokens, kept}],
         usage: {image_tokens, prompt_tokens, output_tokens, seconds}, markdown, raw,
         regions: [{label, box: box | null, boxes, boxes_points, boxes_normalized, text, confidence, figure,
                    lines: [{text, confidence, box: box | null}]}]}]}

A box is [x1, y1, x2, y2]: pixels of the page in `box` (around all of `boxes`) and `boxes`, PDF points from the left top
in `boxes_points`, parts of the page 0..1 in `boxes_normalized`. `figure` is the number of the region's first figure;
its box i is saved as `{stem}_images/{page}_{figure + i}.jpg`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

from folioscope.types import Box, Document, PageResult, Region

SCHEMA = "folioscope.document/1"


def document_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of what `document_json` writes."""
    return json.loads((resources.files("folioscope.export") / "document.schema.json").read_text(encoding="utf-8"))


def document_json(document: Document) -> str:
    """The document as JSON text, the same for the same document, ending in a newline; Markdown as its pages have it."""
    content = {
        "schema": SCHEMA,
        "source": document.source,
        "markdown": "\n\n".join(page.markdown for page in document.pages if page.markdown),
        "pages": [page_json(page) for page in document.pages],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def page_json(page: PageResult) -> dict[str, Any]:
    """One page, as in the document."""
    return {
        "number": page.number,
        "size": page.size,
        "points": page.points,
        "status": page.status,
        "error": page.error,
        "confidence": page.confidence,
        "coverage": page.coverage,
        "doubts": page.doubts,
        "attempts": [asdict(attempt) for attempt in page.attempts],
        "usage": asdict(page.usage),
        "markdown": page.markdown,
        "raw": page.raw,
        "regions": [region_json(region, page.size) for region in page.regions],
    }


def region_json(region: Region, size: tuple[int, int]) -> dict[str, Any]:
    """One region of a page of `size` pixels, as in the document."""
    width, height = size
    return {
        "label": region.label,
        "box": _rounded([region.box], 3)[0] if region.box else None,
        "boxes": _rounded(region.boxes, 3),
        "boxes_points": _rounded(region.boxes_points, 3),
        "boxes_normalized": _rounded(
            [(x1 / width, y1 / height, x2 / width, y2 / height) for x1, y1, x2, y2 in region.boxes], 6
        ),
        "text": region.text,
        "confidence": region.confidence,
        "figure": region.figure,
        "lines": [{**asdict(line), "box": _rounded([line.box], 3)[0] if line.box else None} for line in region.lines],
    }


def _rounded(boxes: Sequence[Box], digits: int) -> list[list[float]]:
    return [[round(value, digits) for value in box] for box in boxes]
