"""Edit distance: how many characters, or words, must change to get from one text to the other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from folioscope.evaluate.score import Score


def edit(prediction: str, truth: str) -> Score:
    """Normalised edit distance, 0..1, 0 is best: Levenshtein distance over the length of the longer text.

    OmniDocBench's `Edit_dist` of a pair of texts, taken of the page as a whole. Its own scores of pages are sums over
    matched blocks; see `blocks`.
    https://github.com/pyc96/OmniDocBench/blob/147ddbd80762c4111e648ccafe743805fecc4d6b/metrics/cal_metric.py
    """
    return Score(edit_distance(prediction, truth), max(len(prediction), len(truth)))


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Levenshtein distance, a column of the table per step as bits of one integer (Myers, 1999).

    Here, and not of a library, because training measures its checkpoints with nothing but the core installed.
    """
    if not one:
        return len(other)
    places: dict[Hashable, int] = {}
    for index, character in enumerate(one):
        places[character] = places.get(character, 0) | 1 << index
    full, last, distance = (1 << len(one)) - 1, 1 << (len(one) - 1), len(one)
    up, down = full, 0  # where the column above is one less, one more
    for character in other:
        same = places.get(character, 0)
        diagonal = (((same & up) + up) ^ up) | same | down
        right_up, right_down = down | ~(diagonal | up) & full, up & diagonal
        distance += bool(right_up & last) - bool(right_down & last)
        right_up, right_down = (right_up << 1 | 1) & full, right_down << 1 & full
        up, down = right_down | ~(diagonal | right_up) & full, right_up & diagonal
    return distance
