"""How sure the model was: log-probabilities of tokens → probabilities of what they spell."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate


def geometric_mean(log_sum: float, count: int) -> float | None:
    """The geometric mean, 0..1, of `count` probabilities whose natural logs sum to `log_sum`; None of none."""
    return min(math.exp(log_sum / count), 1.0) if count > 0 else None


_MARKUP = re.compile(r"<\|det\|>.*?(?:<\|/det\|>|\Z)|<[^<>]*>|<\|[^>]*\Z", re.DOTALL)
_LABEL = re.compile(r"<\|ref\|>.*?(?:<\|/ref\|>|\Z)", re.DOTALL)


def text_logprobs(
    raw: str, spans: Sequence[tuple[int, int]], logprobs: Sequence[float], words_in_refs: bool | None
) -> tuple[float, ...]:
    """The log-probabilities of the tokens that spell words, in order: none of marks, boxes, labels, tags and blanks.

    Args:
        raw: What the tokens spell.
        spans: As `tokens.token_spans` gives them.
        words_in_refs: Whether refs hold words of the page rather than labels.
    """
    without_labels = raw if words_in_refs else _LABEL.sub(lambda label: " " * len(label[0]), raw)
    text = _MARKUP.sub(lambda mark: " " * len(mark[0]), without_labels)
    return tuple(
        logprob for (start, end), logprob in zip(spans, logprobs, strict=False) if not text[start:end].isspace()
    )


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
