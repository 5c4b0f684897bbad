"""Error rates of characters and words, as jiwer has them.

Edits over the length of the truth, 0 and up: a text that is much too long has a rate above 1. Over many pages, `pooled`
is what jiwer gives for lists of texts. It refuses empty truths; here a page that should be empty, and is not, has the
rate 1. https://github.com/jitsi/jiwer/tree/v4.0.0
"""

from __future__ import annotations

from folioscope.evaluate.edit import edit_distance
from folioscope.evaluate.score import Score


def cer(prediction: str, truth: str) -> Score:
    """Character error rate; blanks at both ends do not count."""
    prediction, truth = prediction.strip(), truth.strip()
    return Score(edit_distance(prediction, truth), len(truth))


def wer(prediction: str, truth: str) -> Score:
    """Word error rate; words are what stands between blanks."""
    words, there = prediction.split(), truth.split()
    return Score(edit_distance(words, there), len(there))
