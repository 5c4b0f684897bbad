"""Every format of one document opens in its own reader, and says the same in the same places."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pypdfium2
import pytest
from PIL import Image, ImageDraw, ImageFont

from folioscope.export.alto import NAMESPACE
from folioscope.export.doctags import doctags
from folioscope.export.placed import placed_blocks
from folioscope.grounding import parse
from folioscope.types import Document, PageResult

SIZE = (600, 400)
FONT = ImageFont.load_default(20)
LINES = ("Ünïted wörds 漢字 & <tags>", "second line of it")
RAW = (
    "<|ref|>title<|/ref|><|det|>[[60, 70, 600, 150]]<|/det|>\n# A title\n\n"
    f"<|ref|>text<|/ref|><|det|>[[60, 240, 800, 450]]<|/det|>\n{LINES[0]}\n{LINES[1]}\n\n"
    "<|ref|>table<|/ref|><|det|>[[60, 500, 900, 700]]<|/det|>\n"
    "<table><tr><th>Name</th><th>Sum</th></tr><tr><td>x</td><td>12</td></tr></table>\n\n"
    "<|ref|>image<|/ref|><|det|>[[60, 750, 300, 950]]<|/det|>\n"
)
Word = tuple[str, tuple[int, ...]]


def drawn() -> Image.Image:
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    for y, text in ((30, "A title"), (105, LINES[0]), (145, LINES[1]), (205, "Name   Sum"), (245, "x   12")):
        draw.text((40, y), text, fill="black", font=FONT)
    return image


@pytest.fixture(scope="module")
def document() -> Document:
    found = parse(RAW, SIZE, words_in_refs=False)
    page = PageResult(1, "in/a.png", SIZE, raw=RAW, markdown=found.markdown, regions=found.regions, pixels=drawn)
    blank = PageResult(2, "in/a.png", (100, 200), status="blank")
    return Document("in/a.png", (page, blank))


@pytest.fixture(scope="module")
def saved(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    document.save(folder, ["txt", "html", "hocr", "alto", "pdf", "doctags", "csv"])
    return folder


def text_of(saved: Path, name: str) -> str:
    return (saved / name).read_text(encoding="utf-8")


def hocr_words(path: Path) -> list[Word]:
    root = ET.fromstring(path.read_text(encoding="utf-8").replace("<!DOCTYPE html>", ""))
    words = [node for node in root.iter() if node.get("class") == "ocrx_word"]
    boxes = [re.search(r"bbox (\d+) (\d+) (\d+) (\d+)", node.get("title", "")) for node in words]
    return [(node.text or "", tuple(map(int, box.groups()))) for node, box in zip(words, boxes, strict=True) if box]


def alto_words(path: Path) -> list[Word]:
    root = ET.fromstring(path.read_bytes())
    words = []
    for node in root.iter(f"{{{NAMESPACE}}}String"):
        left, top, width, height = (int(node.get(name, "")) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
        words.append((node.get("CONTENT", ""), (left, top, left + width, top + height)))
    return words


def test_lines_are_found_in_the_ink(document: Document) -> None:
    ink = np.asarray(drawn().convert("L")) < 128
    text = placed_blocks(document.pages[0])[1]
    assert [line.text for line in text.lines] == list(LINES)
    for line in text.lines:
        left, top, right, bottom = map(round, line.box)
        assert ink[top:bottom, left:right].any()
        assert not ink[bottom : bottom + 3, left:right].any()


def test_words_and_boxes_agree_between_hocr_and_alto(saved: Path) -> None:
    words = hocr_words(saved / "a.hocr")
    assert words == alto_words(saved / "a.alto.xml")
    assert [word for word, _ in words][:4] == ["A", "title", "Ünïted", "wörds"]
    assert "<tags>" in [word for word, _ in words]


def test_alto_names_every_part_once(saved: Path) -> None:
    root = ET.fromstring((saved / "a.alto.xml").read_bytes())
    ids = [node.get("ID") for node in root.iter() if node.get("ID")]
    assert len(ids) == len(set(ids))
    assert [node.get("PHYSICAL_IMG_NR") for node in root.iter(f"{{{NAMESPACE}}}Page")] == ["1", "2"]
    assert len(list(root.iter(f"{{{NAMESPACE}}}Illustration"))) == 1


def test_the_pdf_is_searched_where_the_words_stand(saved: Path) -> None:
    pdf = pypdfium2.PdfDocument(saved / "a.pdf")
    assert len(pdf) == 2
    page = pdf[0]
    scale = page.get_width() / SIZE[0]
    text = page.get_textpage()
    assert {*LINES[0].split(), "title", "second", "12"} <= set(text.get_text_range().split())
    for word, (left, top, right, bottom) in hocr_words(saved / "a.hocr"):
        if word in ("title", "wörds", "漢字", "second"):
            found = text.search(word, match_case=True).get_next()
            assert found, word
            x1, y1, x2, y2 = (value / scale for value in text.get_charbox(found[0]))
            assert left - 3 <= x1 <= right, word
            middle = SIZE[1] - (y1 + y2) / 2
            assert top - 6 <= middle <= bottom + 6, word
    pdf.close()


def test_the_text_of_the_pdf_is_not_seen(saved: Path) -> None:
    pdf = pypdfium2.PdfDocument(saved / "a.pdf")
    seen = pdf[0].render(scale=SIZE[0] / pdf[0].get_width()).to_pil().convert("L").resize(SIZE)
    difference = np.abs(np.asarray(seen, float) - np.asarray(drawn().convert("L"), float))
    assert difference.mean() < 4
    pdf.close()


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="pdftotext is not installed")
def test_pdftotext_reads_the_lines(saved: Path) -> None:
    run = subprocess.run(["pdftotext", saved / "a.pdf", "-"], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    lines = [line for line in run.stdout.splitlines() if line]
    assert [*LINES] == [line for line in lines if line in LINES]


def test_the_text_has_a_page_break_between_pages(saved: Path) -> None:
    first, second = text_of(saved, "a.txt").split("\f")
    assert first.splitlines() == ["A title", *LINES, "Name  Sum", "x  12"]
    assert second == "\n"


def test_csv(saved: Path) -> None:
    assert text_of(saved, "a_table_1.csv") == "Name,Sum\nx,12\n"


def test_doctags(saved: Path) -> None:
    tags = text_of(saved, "a.doctags")
    assert "<title><loc_30><loc_35><loc_300><loc_75>A title</title>" in tags
    assert "<otsl><loc_30><loc_250><loc_450><loc_350><ched>Name<ched>Sum<nl><fcel>x<fcel>12<nl></otsl>" in tags
    assert tags.count("<page_break>") == 1
    assert "<tags>" not in tags


@pytest.mark.parametrize(
    ("items", "kind", "first"),
    [("1. flour\n2. sugar", "ordered", "flour"), ("- 1. flour\n- sugar", "unordered", "1. flour")],
)
def test_doctags_of_a_list_that_counts(items: str, kind: str, first: str) -> None:
    raw = f"<|ref|>list<|/ref|><|det|>[[60, 70, 600, 150]]<|/det|>\n{items}\n"
    found = parse(raw, SIZE, words_in_refs=False)
    page = PageResult(1, "a.png", SIZE, raw=raw, markdown=found.markdown, regions=found.regions)
    tags = doctags(Document("a.png", (page,)))
    assert f"<{kind}_list><list_item><loc_30><loc_35><loc_300><loc_75>{first}</list_item>" in tags
    assert tags.count("<list_item>") == 2


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_holds_the_blocks_and_no_tag_of_the_models(saved: Path) -> None:
    seen = Seen()
    seen.feed(text_of(saved, "a.html"))
    assert seen.tags.count("section") == 2
    assert {"h1", "table", "img"} <= set(seen.tags)
    assert "tags" not in seen.tags
    assert LINES[0] in "".join(seen.text)
    link = re.search(r'src="([^"]+)"', text_of(saved, "a.html"))
    assert link
    assert (saved / link[1]).is_file()
