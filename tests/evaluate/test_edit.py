"""Edit distance and error rates: by hand, by definition, and against rapidfuzz and jiwer."""

from __future__ import annotations

import random
from collections.abc import Callable

import jiwer
import pytest
from rapidfuzz.distance import Levenshtein

from folioscope.evaluate.edit import edit, edit_distance
from folioscope.evaluate.error_rates import cer, wer
from folioscope.evaluate.score import Measure, Score


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
        assert edit_distance(one, other) == by_definition(one, other) == Levenshtein.distance(one, other)


def pages(seed: int, count: int = 200) -> list[tuple[str, str]]:
    """Predictions and truths of a few words each; no truth is empty, which jiwer refuses."""
    draw = random.Random(seed)
    words = ["frost", "cane", "came", "14", "kg", "of", "apples,", "é"]
    return [
        (" ".join(draw.choices(words, k=draw.randrange(12))), " ".join(draw.choices(words, k=draw.randrange(1, 12))))
        for _ in range(count)
    ]


def test_normalised_edit_distance_is_that_of_rapidfuzz() -> None:
    for prediction, truth in pages(1):
        assert edit(prediction, truth).value == pytest.approx(Levenshtein.normalized_distance(prediction, truth))


@pytest.mark.parametrize(("measure", "reference"), [(cer, jiwer.cer), (wer, jiwer.wer)])
def test_error_rates_are_those_of_jiwer(measure: Measure, reference: Callable[..., float]) -> None:
    predictions, truths = zip(*pages(2), strict=True)
    scores = [measure(*pair) for pair in zip(predictions, truths, strict=True)]
    for score, prediction, truth in zip(scores, predictions, truths, strict=True):
        assert score.value == pytest.approx(reference(truth, prediction))
    pooled = Score(sum(score.amount for score in scores), sum(score.of for score in scores))
    assert pooled.value == pytest.approx(reference(list(truths), list(predictions)))


def test_by_hand() -> None:
    assert edit("kitten", "sitting") == Score(3, 7)
    assert cer("kitten", "sitting") == Score(3, 7)
    assert cer("sitting", "kitten").value == 3 / 6
    assert wer("the first cane early", "The first frost came early") == Score(3, 5)
    assert cer("aaaa", "a").value == 3


def test_an_empty_truth() -> None:
    for measure in (edit, cer, wer):
        assert measure("", "").value == 0
        assert measure("something else", "").value == 1
        assert measure("", "something else").value == 1
