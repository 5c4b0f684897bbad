"""The JSON of a document."""

from __future__ import annotations

import json

from folioscope.export.json_document import document_json
from folioscope.types import Attempt, Document, Line, PageResult, Region, Usage

BOXES = ((10.0, 20.0, 30.1250004, 40.0), (0.0, 0.0, 100.0, 200.0))
REGION = Region("image", BOXES, "Ä", 0.5, ((1.0, 2.0, 3.0, 4.0),), 2, lines=(Line("Ä", 0.25, BOXES[0]), Line("", None)))
ATTEMPT = Attempt("ngram", "length", ("cut",), 0.9, 0.5, 3, kept=True)
DOCUMENT = Document(
    "a.pdf",
    (
        PageResult(
            *(3, "a.pdf", (100, 200), "truncated", "raw", "# Ä", (REGION,), 0.9, Usage(1, 2, 3, 4.5), (612.0, 792.0)),
            coverage=0.5,
            attempts=(ATTEMPT,),
        ),
        PageResult(4, "a.pdf", (1, 1), "failed", error="page 4 of a.pdf: broken"),
    ),
)


def test_everything_is_there() -> None:
    text = document_json(DOCUMENT)
    assert "Ä" in text
    assert text == document_json(DOCUMENT)
    content = json.loads(text)
    pages = content.pop("pages")
    assert content == {"schema": "folioscope.document/1", "source": "a.pdf", "markdown": "# Ä"}
    regions = pages[0].pop("regions")
    assert pages[0] == {
        "number": 3,
        "size": [100, 200],
        "points": [612.0, 792.0],
        "status": "truncated",
        "error": None,
        "confidence": 0.9,
        "coverage": 0.5,
        "doubts": ["cut"],
        "attempts": [
            {
                "step": "ngram",
                "finish": "length",
                "doubts": ["cut"],
                "confidence": 0.9,
                "coverage": 0.5,
                "output_tokens": 3,
                "kept": True,
            }
        ],
        "usage": {"image_tokens": 1, "prompt_tokens": 2, "output_tokens": 3, "seconds": 4.5},
        "markdown": "# Ä",
        "raw": "raw",
    }
    assert regions == [
        {
            "label": "image",
            "box": [0.0, 0.0, 100.0, 200.0],
            "boxes": [[10.0, 20.0, 30.125, 40.0], [0.0, 0.0, 100.0, 200.0]],
            "boxes_points": [[1.0, 2.0, 3.0, 4.0]],
            "boxes_normalized": [[0.1, 0.1, 0.30125, 0.2], [0.0, 0.0, 1.0, 1.0]],
            "text": "Ä",
            "confidence": 0.5,
            "figure": 2,
            "lines": [
                {"text": "Ä", "confidence": 0.25, "box": [10.0, 20.0, 30.125, 40.0]},
                {"text": "", "confidence": None, "box": None},
            ],
        }
    ]
    assert (pages[1]["status"], pages[1]["error"], pages[1]["points"]) == ("failed", "page 4 of a.pdf: broken", None)


def test_text_without_a_place() -> None:
    page = PageResult(1, "a", (10, 10), regions=(Region("text", text="x"),))
    region = json.loads(document_json(Document("a", (page,))))["pages"][0]["regions"][0]
    assert (region["box"], region["boxes"], region["boxes_points"], region["figure"]) == (None, [], [], None)
