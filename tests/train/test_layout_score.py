"""Regions matched by overlap, the pairs that overlap most first."""

from __future__ import annotations

import pytest

from folioscope.train.layout_score import LayoutScore, compare_regions
from folioscope.types import Region

TITLE = Region("title", ((0, 0, 100, 20),))
TEXT = Region("text", ((0, 30, 100, 90),))


def test_the_same_regions_score_full() -> None:
    score = compare_regions([TITLE, TEXT], [TEXT, TITLE])
    assert (score.f1, score.label_accuracy) == (1, 1)


def test_a_wrong_label_in_the_right_place_is_found_all_the_same() -> None:
    score = compare_regions([Region("text", TITLE.boxes), TEXT], [TITLE, TEXT])
    assert (score.f1, score.label_accuracy) == (1, 0.5)


@pytest.mark.parametrize(("right", "matched"), [(150, 1), (201, 0)])
def test_half_of_the_union_is_enough(right: int, matched: int) -> None:
    assert compare_regions([Region("title", ((0, 0, right, 20),))], [TITLE]).matched == matched


def test_one_region_there_is_found_once() -> None:
    score = compare_regions([TEXT, TEXT], [TEXT, TITLE])
    assert (score.matched, score.f1) == (1, 0.5)


def test_text_without_a_box_does_not_count() -> None:
    assert compare_regions([Region("text", text="words")], []) == LayoutScore()


@pytest.mark.parametrize(("found", "there"), [([], [TITLE]), ([TITLE], [])])
def test_nothing_found_and_nothing_there(found: list[Region], there: list[Region]) -> None:
    assert compare_regions(found, there).f1 == 0
    assert compare_regions([], []).f1 == 1
