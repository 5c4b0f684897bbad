"""Similarity of tables by the edit distance of their trees: TEDS of PubTabNet (Zhong et al., 2020).

https://github.com/ibm-aur-nlp/PubTabNet/blob/0e0c3435600fadf36488ecf3f74f4a8b7ad13ce5/src/metric.py

A table is a tree: table → rows → cells, a cell being its text and how many columns and rows it spans. Inserting and
deleting a node cost 1, and so does another tag or span; another text costs its normalised edit distance. The similarity
is 1 - distance / nodes below the root of the larger tree. Heads, bodies and marks inside cells are no nodes, heading
cells are cells like others, and pipe tables are tables: what OmniDocBench makes of tables before it measures.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from folioscope.evaluate.matching import best_pairs
from folioscope.evaluate.score import Score

if TYPE_CHECKING:
    from folioscope.export.tables import Cell, Table


@dataclass(frozen=True)
class Node:
    """A node of a table's tree; `text` and spans are those of cells."""

    tag: str
    children: tuple[Node, ...] = ()
    text: str = ""
    columns: int = 1
    rows: int = 1

    @property
    def below(self) -> int:
        """Nodes below this one."""
        return len(self.children) + sum(child.below for child in self.children)


def teds(prediction: str, truth: str) -> Score | None:
    """Sum of the similarities of the truth's tables to those read, 0..1 each, 1 is best, over their number.

    Tables are paired by the edit distance of their HTML; one that was not read is 0, and one that was read and is not
    there does not count. None if the truth has no table.
    """
    return _tables_score(prediction, truth, structure_only=False)


def teds_structure(prediction: str, truth: str) -> Score | None:
    """The same, whatever the cells say."""
    return _tables_score(prediction, truth, structure_only=True)


def _tables_score(prediction: str, truth: str, structure_only: bool) -> Score | None:
    from folioscope.export.tables import find_tables, to_html

    read, there = ([table for _, _, table in find_tables(text)] for text in (prediction, truth))
    pairs = best_pairs([to_html(table) for table in read], [to_html(table) for table in there])
    alike = sum(similarity(read[one], there[other], structure_only) for one, other in pairs)
    return Score(alike, len(there)) if there else None


def similarity(one: Table, other: Table, structure_only: bool = False) -> float:
    """TEDS of two tables, 0..1, the same in both directions."""
    tree, against = _tree(one, structure_only), _tree(other, structure_only)
    if tree == against:
        return 1.0
    from apted import APTED

    return 1 - APTED(tree, against, _costs()).compute_edit_distance() / max(tree.below, against.below)


def _tree(table: Table, structure_only: bool) -> Node:
    return Node("table", tuple(Node("tr", _cells(row, structure_only)) for row in table.rows))


def _cells(row: Sequence[Cell], structure_only: bool) -> tuple[Node, ...]:
    texts = ["" if structure_only else unicodedata.normalize("NFKC", cell.text).strip() for cell in row]
    return tuple(Node("td", (), text, cell.columns, cell.rows) for text, cell in zip(texts, row, strict=True))


def _costs() -> Any:
    from apted import Config
    from rapidfuzz.distance import Levenshtein

    class Costs(Config):
        """Of turning one node into another."""

        def rename(self, node1: Node, node2: Node) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
            if (node1.tag, node1.columns, node1.rows) != (node2.tag, node2.columns, node2.rows):
                return 1.0
            return Levenshtein.normalized_distance(node1.text, node2.text)

    return Costs()
