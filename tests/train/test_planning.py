"""What stands where on a training page: labels must be told from what can be seen."""

from __future__ import annotations

import itertools

import numpy as np

from folioscope.train.layout import Block, PageStyle
from folioscope.train.planning import plan_page

STYLE = PageStyle(side=640, lines=(6, 16), type_px=(16, 24), layout=1)


def _px(block: Block) -> float:
    return block.lines[0].face.font.size


def _pages(count: int) -> list[list[Block]]:
    plans = (plan_page(STYLE, np.random.default_rng(seed)) for seed in range(count))
    return [[block for block in plan.blocks if block.lines] for plan in plans]


def test_a_heading_is_a_title_where_no_type_stands_above_it() -> None:
    pages = _pages(60)
    assert all(page[0].label != "sub_title" for page in pages)
    assert all(block.label != "title" for page in pages for block in page[1:])
    assert any(block.label == "sub_title" for page in pages for block in page)


def test_a_heading_is_larger_than_what_stands_below_it() -> None:
    larger = [
        _px(heading) / _px(below)
        for page in _pages(60)
        for heading, below in itertools.pairwise(page)
        if heading.label in ("title", "sub_title") and below.label in ("text", "list")
    ]
    assert len(larger) > 20
    assert min(larger) > 1.1
