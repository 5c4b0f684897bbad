"""Blocks, their order, and their edits: by hand."""

from __future__ import annotations

from folioscope.evaluate.matching import best_pairs
from folioscope.evaluate.order import blocks, blocks_of, order
from folioscope.evaluate.score import Score

ALPHA, BETA, GAMMA, DELTA = "Alpha comes first", "Beta is the second", "Gamma, number three", "Delta at the end"


def page(*texts: str) -> str:
    return "\n\n".join(texts)


TRUTH = page(ALPHA, BETA, GAMMA, DELTA)


def test_blocks_are_what_stands_between_blank_lines() -> None:
    markdown = page("# Title!", "two\nlines", "![a](b.jpg)", "$$x^2$$", "| a | b |\n|---|---|\n| c | d |", "---", "end")
    assert blocks_of(markdown) == ["Title", "twolines", "end"]
    assert blocks_of("one\ntwo") == ["one", "two"]
    assert blocks_of("") == []


def test_order_by_hand() -> None:
    assert order(TRUTH, TRUTH) == Score(0, 4)
    assert order(page(ALPHA, GAMMA, BETA, DELTA), TRUTH) == Score(2, 4)  # 0213 → 0123
    assert order(page(DELTA, ALPHA, BETA, GAMMA), TRUTH) == Score(2, 4)  # 3012: one taken out, one put in
    assert order(page(ALPHA, BETA, GAMMA), TRUTH) == Score(1, 4)
    assert order(page(ALPHA, "Something else", BETA, GAMMA, DELTA), TRUTH) == Score(0, 4)
    assert order("", TRUTH) == Score(4, 4)
    assert order(TRUTH, "") is None


def test_misread_letters_do_not_change_the_order() -> None:
    assert order(TRUTH.replace("e", "c"), TRUTH) == Score(0, 4)


def test_blocks_by_hand() -> None:
    one, other = "abcd", "efghij"
    truth = page(one, other)
    assert blocks(truth, truth) == Score(0, 10)
    assert blocks(page(other, one), truth) == Score(0, 10)  # order is another metric
    assert blocks(page("abcX", other), truth) == Score(1, 10)
    assert blocks(page("abcdYZ", other), truth) == Score(2, 12)
    assert blocks(one + "\n\n", truth) == Score(6, 10)
    assert blocks(page("a-b c.d!", other), truth) == Score(0, 10)  # letters and digits alone
    assert blocks("", truth) == Score(10, 10)
    assert blocks(truth, "| a |\n|---|\n| b |") is None


def test_pairs_are_the_best_of_all_and_not_the_best_of_each() -> None:
    # the first truth would like either; the second has one choice
    assert best_pairs(["aaaa", "aaab"], ["aaab", "aabb"]) in ([(0, 0), (1, 1)], [(1, 0), (0, 1)])
    assert best_pairs(["abcd", "xbcd"], ["abcd", "zbcd", "qqqq"]) == [(0, 0), (1, 1)]
    assert best_pairs([], ["a"]) == best_pairs(["a"], []) == []
