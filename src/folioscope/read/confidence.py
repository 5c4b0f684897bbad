"""How sure the model was: log-probabilities of tokens → probabilities of what they spell."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate


def geometric_mean(log_sum: float, count: int) -> float | None:
    """The geometric mean, 0..1, of `count` probabilities whose natural logs sum to `log_sum`; None of none."""
    return min(math.exp(log_sum / count), 1.0) if count > 0 else None


def span_confidence(spans: Sequence[tuple[int, int]], logprobs: Sequence[float]) -> Callable[[int, int], float | None]:
    """The function (start, end) → geometric mean probability of the tokens with a part in those characters, or None.

    Args:
        spans: As `tokens.token_spans` gives them.
        logprobs: At least as many; what is beyond is not looked at.
    """
    sums = list(accumulate(logprobs, initial=0.0))
    starts, ends = [start for start, _ in spans], [end for _, end in spans]

    def confidence(start: int, end: int) -> float | None:
        # a token that ends within a character spans nothing, and belongs to the character that starts where it stands
        first, last = min(bisect_left(starts, start), bisect_right(ends, start)), bisect_left(starts, end)
        return geometric_mean(sums[last] - sums[first], last - first)

    return confidence
