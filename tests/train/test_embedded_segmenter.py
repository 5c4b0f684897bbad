"""The segmenter in the package cuts out objects that it never saw, and is small."""

from __future__ import annotations

import pytest

from folioscope.segment import EMBEDDED, Segmenter
from folioscope.train.composites.backdrops import photographs
from folioscope.train.composites.objects import shelf
from folioscope.train.segmenter_evaluate import MATERIALS, evaluate_cuts

MOST_BYTES = 12_000_000


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in EMBEDDED.iterdir()) <= MOST_BYTES


@pytest.mark.parametrize("material", MATERIALS)
def test_it_cuts_out_what_it_never_saw(material: str) -> None:
    if shelf("held_out").missing or not photographs("held_out"):
        pytest.skip(f"evaluation needs {shelf('held_out').missing or 'scikit-image'}")
    score = evaluate_cuts(Segmenter.from_pretrained(), material, 8)
    assert score.click > 0.5
    assert score.box > 0.6
    assert score.clicks > score.click
    assert score.score_error < 0.25
