"""Tables read from HTML and pipes, however written, and written in each form."""

from __future__ import annotations

import csv
import io

import pytest

from folioscope.export.continued import document_tables
from folioscope.export.tables import Table, find_tables, to_csv, to_html, to_pipes
from folioscope.types import Document, PageResult

SPANS = (
    '<table><tr><th colspan="2">Head</th><th>C</th></tr>'
    "<tr><td rowspan=2>a</td><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table>"
)
PIPES = "| A | B |\n| --- | ---: |\n| x \\| y | 2 |\n"


def only(text: str) -> Table:
    ((_, _, table),) = find_tables(text)
    return table


def test_spans_cover_their_places() -> None:
    assert only(SPANS).grid == [["Head", "", "C"], ["a", "1", "2"], ["", "3", "4"]]


def test_html_is_written_as_it_was_read() -> None:
    once = to_html(only(SPANS))
    assert to_html(only(once)) == once
    assert once.startswith('<table><tr><th colspan="2">Head</th>')


def test_cells_of_a_head_are_headings() -> None:
    rows = "<tr><td>A</td></tr></thead><tbody><tr><td>1</td></tr></tbody>"
    assert to_html(only(f"<table><thead>{rows}</table>")) == "<table><tr><th>A</th></tr><tr><td>1</td></tr></table>"
    unclosed = "<table><thead><tr><td>A<tbody><tr><td>1</table>"
    assert to_html(only(unclosed)) == "<table><tr><th>A</th></tr><tr><td>1</td></tr></table>"


def test_pipes() -> None:
    table = only(PIPES)
    assert table.grid == [["A", "B"], ["x | y", "2"]]
    assert only(to_pipes(table)).grid == table.grid


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("<table><tr><td>a<td>b<tr><td>c", [["a", "b"], ["c", ""]]),
        ("<table><td>a</td></table>", [["a"]]),
        ("<TABLE><TR><TD>a<br>b &amp; c</TD></TR></TABLE>", [["a b & c"]]),
        ('<table><tr><td colspan="999999" rowspan="-1">a</td></tr></table>', [["a", *[""] * 199]]),
        ("<table><tr><td>a</td></tr>", [["a"]]),
    ],
)
def test_what_is_badly_written_is_read(text: str, grid: list[list[str]]) -> None:
    assert only(text).grid == grid


@pytest.mark.parametrize("text", ["", "<table></table>", "a | b\nc | d", "| a | b |\n| c | d |"])
def test_what_is_no_table(text: str) -> None:
    assert find_tables(text) == []


def test_scripts_do_not_pass() -> None:
    table = only("<table><tr><td><script>alert(1)</script>&lt;b&gt;</td></tr></table>")
    assert "<script" not in to_html(table)
    assert "<b>" not in to_html(table)


def test_csv_reads_back_and_holds_no_formula() -> None:
    table = only('<table><tr><td>a,"b"</td><td>=1+1</td></tr><tr><td>-3.5</td><td>@x</td></tr></table>')
    assert list(csv.reader(io.StringIO(to_csv(table)))) == [['a,"b"', "'=1+1"], ["-3.5", "'@x"]]


def document(*markdown: str) -> Document:
    pages = (PageResult(number, "a.pdf", (10, 10), markdown=text) for number, text in enumerate(markdown, 1))
    return Document("a.pdf", tuple(pages))


def test_a_table_goes_on_over_a_page() -> None:
    head, more, again = (f"| A | B |\n| --- | --- |\n| {row} | 1 |" for row in "xyz")
    tables = document_tables(document(f"text\n\n{head}", more, f"{again}\n\ntext"))
    assert [table.grid for table in tables] == [[["A", "B"], ["x", "1"], ["y", "1"], ["z", "1"]]]


@pytest.mark.parametrize("between", ["text\n\n", ""])
def test_other_tables_stay_apart(between: str) -> None:
    first = "| A | B |\n| --- | --- |\n| x | 1 |"
    second = f"{between}| A | B | C |\n| --- | --- | --- |\n| y | 1 | 2 |" if not between else between + first
    assert len(document_tables(document(first, second))) == 2
