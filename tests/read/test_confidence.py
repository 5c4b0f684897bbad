"""Token probabilities → probabilities of characters."""

from __future__ import annotations

from math import exp, log

import pytest

from folioscope.read.confidence import geometric_mean, span_confidence

SPANS = [(0, 2), (2, 2), (2, 3), (3, 7)]
"""Two characters; one that takes two tokens; four characters."""

LOGPROBS = [log(0.9), log(0.5), log(0.2), log(0.4), log(0.1)]
"""The last is of the end-of-sequence token, which has no characters."""


@pytest.mark.parametrize(
    ("start", "end", "tokens"),
    [
        (0, 2, [0.9]),
        (0, 7, [0.9, 0.5, 0.2, 0.4]),
        (1, 2, [0.9]),
        (2, 3, [0.5, 0.2]),
        (3, 5, [0.4]),
        (4, 5, [0.4]),
        (1, 3, [0.9, 0.5, 0.2]),
        (2, 4, [0.5, 0.2, 0.4]),
    ],
)
def test_tokens_with_a_part_in_the_characters(start: int, end: int, tokens: list[float]) -> None:
    mean = exp(sum(map(log, tokens)) / len(tokens))
    assert span_confidence(SPANS, LOGPROBS)(start, end) == pytest.approx(mean)


def test_nothing_has_no_confidence() -> None:
    assert span_confidence(SPANS, LOGPROBS)(2, 2) is None
    assert span_confidence([], [])(0, 0) is None
    assert geometric_mean(0.0, 0) is None


def test_never_above_one() -> None:
    assert geometric_mean(1e-12, 3) == 1.0
