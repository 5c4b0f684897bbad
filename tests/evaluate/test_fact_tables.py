"""Facts of tables: neighbours and headings, with spans, in HTML and in pipes."""

from __future__ import annotations

from typing import Any

import pytest

from folioscope.evaluate.facts import fact_of

SALES = """<table>
<thead><tr><td rowspan="2"></td><td colspan="2">Quarter 1</td><td>Quarter 2</td></tr>
<tr><td>Jan</td><td>Feb</td><td>Apr</td></tr></thead>
<tr><th rowspan="2">North</th><td>100</td><td>110</td><td>130</td></tr>
<tr><td>50</td><td colspan="2">55 and 65</td></tr>
</table>"""

PIPES = "Before\n\n| Fruit | Cost |\n|:--|--:|\n| Apples | 1.00 |\n| Pears | 2.00 |\n\nafter"


def holds(page: str, cell: str, **more: Any) -> bool:
    values = {"pdf": "a.pdf", "page": 1, "id": "1", "type": "table", "cell": cell, **more}
    return fact_of(values, "here").failure(page) is None


@pytest.mark.parametrize(
    ("cell", "asked"),
    [
        ("Jan", {"up": "Quarter 1", "down": "100", "right": "Feb"}),
        ("Feb", {"up": "Quarter 1", "left": "Jan", "down": "110"}),
        ("Quarter 1", {"down": "Jan"}),
        ("Quarter 1", {"down": "Feb"}),
        ("100", {"left": "North", "up": "Jan", "down": "50"}),
        ("50", {"left": "North", "right": "55 and 65"}),
        ("55 and 65", {"up": "110"}),
        ("55 and 65", {"up": "130"}),
        ("55 and 65", {"top_heading": "Feb"}),
        ("55 and 65", {"top_heading": "Apr"}),
        ("55 and 65", {"top_heading": "Quarter 1", "left_heading": "North"}),
        ("130", {"left_heading": "North", "top_heading": "Quarter 2"}),
        ("130", {"top_heading": "Quarter 3", "max_diffs": 2}),
    ],
)
def test_what_stands_beside_a_cell(cell: str, asked: dict[str, Any]) -> None:
    assert holds(SALES, cell, **asked)


@pytest.mark.parametrize(
    ("cell", "asked"),
    [
        ("Jan", {"up": "Quarter 2"}),
        ("Jan", {"down": "50"}),
        ("130", {"left_heading": "110"}),
        ("130", {"top_heading": "Jan"}),
        ("100", {"right": "110", "left": "South"}),
        ("Quarter 1", {"up": "anything"}),
        ("999", {}),
    ],
)
def test_what_does_not(cell: str, asked: dict[str, Any]) -> None:
    assert not holds(SALES, cell, **asked)


def test_without_headings_the_outermost_cell_is_one() -> None:
    bare = "<table><tr><td>Fruit</td><td>Cost</td></tr><tr><td>Apples</td><td>1.00</td></tr></table>"
    assert holds(bare, "1.00", top_heading="Cost", left_heading="Apples")
    assert not holds(bare, "Apples", left_heading="Apples")


def test_pipes() -> None:
    assert holds(PIPES, "1.00", left="Apples", up="Cost", top_heading="Cost", left_heading="Apples", down="2.00")
    assert not holds(PIPES, "1.00", left="Apples", ignore_markdown_tables=True)
    assert holds("a | b\nc | d", "d", up="b", left="c")  # no rule and no outer pipes
    assert not holds("a | b", "b", left="a")  # one line is no table
    assert holds("| a || b |\n| c | | d |", "d", left="")


def test_any_of_several_cells_and_tables_will_do() -> None:
    page = f"{PIPES}\n\n<table><tr><td>2.00</td><td>Plums</td></tr></table>"
    assert holds(page, "2.00", left="Pears")
    assert holds(page, "2.00", right="Plums")
    assert not holds(page, "2.00", left="Pears", right="Plums")


def test_a_cell_is_like_another_by_its_letters() -> None:
    page = "<table><tr><td><b>Ap</b>ples,<br>red</td><td>1</td></tr></table>"
    assert holds(page, "Apples, red", right="1")
    assert not holds(page, "Aples, red", right="1")
    assert holds(page, "Aples, red", right="1", max_diffs=1)
    assert not holds("no table here", "Apples")
