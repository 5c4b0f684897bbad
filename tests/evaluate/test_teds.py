"""TEDS by hand, and against table-recognition-metric, which counts the root where PubTabNet leaves it out."""

from __future__ import annotations

import random

import pytest
from table_recognition_metric import TEDS

from folioscope.evaluate.score import Score
from folioscope.evaluate.teds import Node, similarity, teds, teds_structure
from folioscope.export.tables import find_tables

TRUTH = "<table><tr><td>a</td><td>bb</td></tr><tr><td>c</td><td>dd</td></tr></table>"  # 6 nodes below the root


def test_by_hand() -> None:
    assert teds(TRUTH, TRUTH) == Score(1, 1)
    one_letter = TRUTH.replace("bb", "bx")  # half of a cell
    assert teds(one_letter, TRUTH).value == pytest.approx(1 - 0.5 / 6)
    assert teds_structure(one_letter, TRUTH).value == 1
    no_row = TRUTH.replace("<tr><td>c</td><td>dd</td></tr>", "")  # three nodes less
    assert teds(no_row, TRUTH).value == teds_structure(no_row, TRUTH).value == pytest.approx(1 - 3 / 6)
    span = TRUTH.replace("<td>bb</td>", '<td colspan="2">bb</td>')  # a cell of another shape, whatever it says
    assert teds(span, TRUTH).value == teds_structure(span, TRUTH).value == pytest.approx(1 - 1 / 6)
    more = TRUTH.replace("</tr></table>", "<td>e</td></tr></table>")  # one node more than the truth's six
    assert teds(more, TRUTH).value == pytest.approx(1 - 1 / 7)


def test_heads_and_pipes_are_tables_like_others() -> None:
    head, body = "<tr><th>a</th><th>bb</th></tr>", "<tr><td>c</td><td>d<b>d</b></td></tr>"
    headed = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    pipes = "| a | bb |\n|---|---|\n| c | dd |\n"
    assert teds(headed, TRUTH).value == teds(pipes, TRUTH).value == 1
    assert teds("<table><tr><td>１</td></tr></table>", "<table><tr><td>1</td></tr></table>").value == 1  # NFKC


def test_tables_of_a_page() -> None:
    other = "<table><tr><td>x</td></tr></table>"
    page = f"Text\n\n{TRUTH}\n\nmore\n\n{other}"
    assert teds(page, page) == Score(2, 2)
    assert teds(f"{other}\n\n{TRUTH}", page) == Score(2, 2)  # their order is not what is measured
    assert teds(TRUTH, page) == Score(1, 2)  # one was not read
    assert teds(page, TRUTH) == Score(1, 1)  # one is not there: it does not count
    assert teds("no table", page) == Score(0, 2)
    assert teds(TRUTH, "no table") is None


def random_table(draw: random.Random) -> str:
    rows = []
    for _ in range(draw.randint(1, 5)):
        cells = ""
        for _ in range(draw.randint(1, 4)):
            span = draw.choice(["", "", "", ' colspan="2"', ' rowspan="2"'])
            cells += f"<td{span}>{''.join(draw.choices('abc1', k=draw.randint(0, 6)))}</td>"
        rows.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


@pytest.mark.parametrize("structure_only", [False, True])
def test_the_reference_package_says_the_same(structure_only: bool) -> None:
    draw, reference = random.Random(3), TEDS(structure_only=structure_only)
    for _ in range(60):
        texts = random_table(draw), random_table(draw)
        tables = [find_tables(text)[0][2] for text in texts]
        nodes = max(sum(1 + len(row) for row in table.rows) for table in tables)
        theirs = reference(*(f"<html><body>{text}</body></html>" for text in texts))
        distance = (1 - theirs) * (nodes + 1)
        assert similarity(*tables, structure_only) == pytest.approx(1 - distance / nodes)
        assert similarity(*tables, structure_only) == pytest.approx(similarity(*reversed(tables), structure_only))


def test_nodes_are_counted_below_the_root() -> None:
    assert Node("table", (Node("tr", (Node("td"), Node("td"))),)).below == 3
