"""Answers as a reader may have written them, so that training sees what becomes of a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LONG_SLIP = 9
"""Mean length of a long slip, ids."""

_KINDS = ((1, 1), (1, 0), (0, 1), None)  # ids passed over and others written: replaced, left out, added, a long slip
_SHARES = (0.6, 0.1, 0.1, 0.2)


@dataclass(frozen=True)
class Written:
    """What may have been written of an answer of n ids.

    Attributes:
        ids: (m,) int64.
        reached: (m + 1,) int64, 0..n: answer[reached[k]] is to be written after ids[:k]; n stands for the end.
    """

    ids: np.ndarray
    reached: np.ndarray


def with_slips(answer: Sequence[int], share: float, rng: np.random.Generator) -> Written:
    """Write `answer` with a slip at about this share of its ids, 0 to below 1.

    Decoded freely, a reader sees its own slips; one that has seen none in training loses its line after the first. One
    slip in five is long: a stretch of the answer, from anywhere, stands for another of about its length.
    """
    ids, reached, place = list[int](), [0], 0
    while place < len(answer):
        right = min(int(rng.geometric(share)) - 1 if share else len(answer), len(answer) - place)
        ids += answer[place : place + right]
        reached += range(place + 1, place + right + 1)
        place += right
        if place < len(answer):
            passed, others = _slip(answer, rng)
            ids += others
            reached += [place + round(passed * (index + 1) / len(others)) for index in range(len(others))]
            place += passed
    return Written(np.array(ids, dtype=np.int64), np.minimum(reached, len(answer)))


def _slip(answer: Sequence[int], rng: np.random.Generator) -> tuple[int, list[int]]:
    """How many ids are passed over, and what is written instead."""
    kind = _KINDS[rng.choice(len(_KINDS), p=_SHARES)]
    length = int(rng.geometric(1 / LONG_SLIP))
    passed, count = kind or (length, max(1, round(length * rng.uniform(0.75, 1.25))))
    start = int(rng.integers(max(1, len(answer) - count + 1)))
    return passed, list(answer[start : start + count])
