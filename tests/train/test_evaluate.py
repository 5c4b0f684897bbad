"""Scores: the distance against its definition, and the whole evaluation on an untrained network."""

from __future__ import annotations

import random

import pytest

from folioscope.train.evaluate import Reading, Score, edit_distance, evaluate, evaluation_pages
from folioscope.train.render import PageStyle


def by_definition(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


@pytest.mark.parametrize("alphabet", ["ab", "abcde", "é—x "])
def test_edit_distance_is_levenshteins(alphabet: str) -> None:
    draw = random.Random(0)
    for _ in range(300):
        one, other = ("".join(draw.choices(alphabet, k=draw.randrange(90))) for _ in range(2))
        assert edit_distance(one, other) == by_definition(one, other)


def test_error_rate() -> None:
    assert Score("free", pages=2, edits=3, characters=60, exact=1, runaway=0).error_rate == 0.05


def test_evaluation_pages_are_the_same_every_time_and_of_held_out_text() -> None:
    style = PageStyle(side=256, degrade=0.5)
    once, again = evaluation_pages(style, 3), evaluation_pages(style, 3)
    assert [page.plain for page in once] == [page.plain for page in again]
    assert once[0].image.tobytes() == again[0].image.tobytes()


@pytest.mark.parametrize("prompt", ["free", "markdown"])
def test_an_untrained_network_reads_nothing_and_runs_away(tiny_reader: tuple, prompt: str) -> None:
    model, tokenizer = tiny_reader
    seen: list[Reading] = []
    pages = evaluation_pages(PageStyle(side=256, lines=(1, 1), degrade=0), 2)
    score = evaluate(model, tokenizer, pages, prompt, seen.append)
    assert (score.pages, len(seen), score.exact) == (2, 2, 0)
    assert score.characters == sum(len(reading.truth) for reading in seen)
    assert score.error_rate > 0.5
