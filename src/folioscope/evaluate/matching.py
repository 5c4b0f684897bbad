"""Texts of a page paired with those that they should be."""

from __future__ import annotations

from collections.abc import Sequence


def best_pairs(predictions: Sequence[str], truths: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of predictions and truths, one to one, with the least sum of normalised edit distances.

    As many pairs as the fewer of both; in the order of the truths. The `simple_match` of OmniDocBench. Its default,
    `quick_match`, joins and splits blocks besides, so that the numbers of its leaderboard are somewhat better.
    https://github.com/pyc96/OmniDocBench/blob/147ddbd80762c4111e648ccafe743805fecc4d6b/utils/match.py
    """
    if not predictions or not truths:
        return []
    import numpy as np
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist
    from scipy.optimize import linear_sum_assignment

    costs = cdist(truths, predictions, scorer=Levenshtein.normalized_distance, dtype=np.float64)
    rows, columns = linear_sum_assignment(costs)
    return [(int(prediction), int(truth)) for truth, prediction in zip(rows, columns, strict=True)]
