"""Markdown, text and HTML as `ExportOptions` say: page marks, figures, tables, and what is left as it was read."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from conftest import ROOT
from folioscope.docstrings import described
from folioscope.export import document_files
from folioscope.grounding import parse
from folioscope.types import Document, ExportOptions, InputError, PageResult, Region

SIZE = (300, 200)
HEAD = "<tr><th>Name</th><th>Sum</th></tr>"
FIRST = f"<table>{HEAD}<tr><td>a</td><td>1</td></tr></table>"
MORE = "<table><tr><td>b</td><td>2</td></tr></table>"
AGAIN = f"<table>{HEAD}<tr><td>c</td><td>3</td></tr></table>"


def page(number: int, raw: str, image: bool = True) -> PageResult:
    found = parse(raw, SIZE, words_in_refs=False)
    pixels = (lambda: Image.new("RGB", SIZE, (200, 10, 10))) if image else None
    return PageResult(number, "a.pdf", SIZE, raw=raw, markdown=found.markdown, regions=found.regions, pixels=pixels)


def ref(label: str, text: str = "") -> str:
    return f"<|ref|>{label}<|/ref|><|det|>[[100, 100, 500, 500]]<|/det|>\n{text}\n\n"


def text_of(document: Document, name: str, options: ExportOptions) -> str:
    """The first file of a format."""
    return document_files(document, [name], "a", options)[0].content().decode()


FIGURE = Document("a.pdf", (page(1, ref("image") + ref("text", "an exam-\nple")), page(2, ""), page(3, ref("image"))))
TABLES = Document(
    "a.pdf",
    (
        page(1, ref("text", "Before") + ref("table", FIRST) + ref("footer", "of the firm") + ref("page_number", "1")),
        page(2, ref("header", "The firm") + ref("table", MORE)),
        page(3, ref("table", AGAIN) + ref("text", "After")),
    ),
)


def test_pages_begin_with_a_mark_also_empty_ones() -> None:
    text = text_of(FIGURE, "md", ExportOptions(paginate=True))
    assert text == (
        "<!-- page 1 -->\n\n![](a_images/1_0.jpg)\n\nan example\n\n"
        "<!-- page 2 -->\n\n<!-- page 3 -->\n\n![](a_images/3_0.jpg)\n"
    )
    assert FIGURE.to_markdown(ExportOptions(paginate=True)).count("<!-- page ") == 3
    assert "<!--" not in text_of(FIGURE, "txt", ExportOptions(paginate=True))


def test_embedded_figures_need_no_file() -> None:
    (file,) = document_files(FIGURE, ["md"], "a", ExportOptions(figures="embed"))
    links = re.findall(r"!\[\]\(data:image/jpeg;base64,([^)]+)\)", file.content().decode())
    assert len(links) == 2
    with Image.open(io.BytesIO(base64.b64decode(links[0]))) as image:
        assert image.size == (120, 80)
        assert image.getpixel((50, 50))[0] > 150  # pyright: ignore
    (html,) = document_files(FIGURE, ["html"], "a", ExportOptions(figures="embed"))
    assert html.content().count(b'src="data:image/jpeg;base64,') == 2


def test_placeholders_say_which_figure_is_left_out() -> None:
    (file,) = document_files(FIGURE, ["md"], "a", ExportOptions(figures="placeholder"))
    assert file.content().decode().count("<!-- figure 0 -->") == 2
    assert b"<img" not in document_files(FIGURE, ["html"], "a", ExportOptions(figures="placeholder"))[0].content()


def test_without_a_picture_nothing_is_embedded() -> None:
    document = Document("a.pdf", (page(1, ref("image") + "words", image=False),))
    assert document.to_markdown(ExportOptions(figures="embed")) == "words"
    assert document.to_markdown(ExportOptions(figures="placeholder")) == "<!-- figure 0 -->\n\nwords"


def test_tables_as_pipes_and_as_html() -> None:
    pipes = "| Name | Sum |\n| --- | --- |\n| a | 1 |"
    document = Document("a.pdf", (page(1, f"x {FIRST} y"), page(2, pipes)))
    assert document.to_markdown(ExportOptions(tables="as-read")) == f"x {FIRST} y\n\n{pipes}"
    assert document.to_markdown(ExportOptions(tables="pipes")) == f"x\n{pipes}\n y\n\n{pipes}"
    assert document.to_markdown(ExportOptions(tables="html")) == f"x {FIRST} y\n\n{FIRST}"


def test_a_table_over_three_pages_is_joined() -> None:
    options = ExportOptions(join_tables=True, tables="pipes")
    rows = "| Name | Sum |\n| --- | --- |\n| a | 1 |\n| b | 2 |\n| c | 3 |"
    text = text_of(TABLES, "md", options)
    assert text == f"Before\n\n{rows}\n\nof the firm\n\n1\n\nThe firm\n\nAfter\n"
    assert text_of(TABLES, "txt", options).split("\f")[0].splitlines()[1:5] == ["Name  Sum", "a  1", "b  2", "c  3"]
    html = text_of(TABLES, "html", options)
    assert (html.count("<table>"), html.count("<tr>"), html.count("<th>")) == (1, 4, 2)
    assert text_of(TABLES, "html", ExportOptions()).count("<table>") == 3
    assert text_of(TABLES, "csv", ExportOptions()) == "Name,Sum\na,1\nb,2\nc,3\n"


@pytest.mark.parametrize(
    "other",
    [
        "<table><tr><th>City</th><th>Size</th></tr><tr><td>x</td><td>1</td></tr></table>",  # a head of its own
        "<table><tr><td>x</td><td>1</td><td>2</td></tr></table>",
    ],
)
def test_other_tables_are_not_joined(other: str) -> None:
    document = Document("a.pdf", (page(1, ref("table", FIRST)), page(2, ref("table", other))))
    assert document.to_markdown(ExportOptions(join_tables=True)) == f"{FIRST}\n\n{other}"
    assert len(document_files(document, ["csv"], "a")) == 2


def test_clean_up_can_be_switched_off_and_never_touches_what_was_read() -> None:
    assert "an example" in FIGURE.markdown
    assert "exam-\nple" in FIGURE.to_markdown(ExportOptions(clean=False))
    assert "an example" in text_of(FIGURE, "txt", ExportOptions())
    assert "exam-\nple" in text_of(FIGURE, "txt", ExportOptions(clean=False))
    content = json.loads(text_of(FIGURE, "json", ExportOptions()))
    first = content["pages"][0]
    assert ("an example" in content["markdown"], "exam-\nple" in first["raw"]) == (True, True)
    assert first["regions"][1]["text"] == "an exam-\nple"
    for name in ("html", "hocr", "alto"):
        assert "exam-" in text_of(FIGURE, name, ExportOptions())


def test_what_a_page_says_of_a_word_holds_for_the_document() -> None:
    document = Document("a.pdf", (page(1, "a data-\nbase"), page(2, "the data-base")))
    assert document.markdown == "a data-base\n\nthe data-base"


def test_the_json_links_to_files_whatever_markdown_does(tmp_path: Path) -> None:
    written = FIGURE.save(tmp_path, ["json"], options=ExportOptions(figures="embed"))
    assert [path.name for path in written] == ["a.json", "1_0.jpg", "3_0.jpg"]
    assert "](a_images/1_0.jpg)" in written[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("wrong", [{"figures": "file"}, {"tables": "csv"}])
def test_options_are_checked(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        ExportOptions(**wrong)


def test_every_option_is_described() -> None:
    manual = (ROOT / "docs" / "read.md").read_text(encoding="utf-8")
    for field in fields(ExportOptions):
        assert described(ExportOptions, field.name)
        flag = ("--no-" if field.default is True else "--") + field.name.replace("_", "-")
        assert f"| `{flag}" in manual


def test_regions_without_their_tables_stay(tmp_path: Path) -> None:
    """Regions that do not hold the tables of the Markdown are left alone."""
    parts = (Region("table", text=FIRST),), ()
    pages = [PageResult(n, "a", SIZE, markdown=text, regions=some) for n, text, some in zip((1, 2), (FIRST, MORE), parts, strict=True)]  # fmt: skip # noqa: E501
    options = ExportOptions(join_tables=True)
    assert Document("a", tuple(pages)).to_markdown(options).count("<tr>") == 3
    assert text_of(Document("a", tuple(pages)), "html", options).count("<tr>") == 3
