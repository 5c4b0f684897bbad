"""Slips: what may have been written of an answer, and where it leaves the writer."""

from __future__ import annotations

import numpy as np
import pytest

from folioscope.train.slips import with_slips

ANSWER = list(range(400))


def test_without_slips_the_answer_is_written() -> None:
    written = with_slips(ANSWER, 0.0, np.random.default_rng(0))
    assert written.ids.tolist() == ANSWER
    assert written.reached.tolist() == list(range(401))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_every_place_is_reached_in_order_and_the_end_last(share: float) -> None:
    for seed in range(20):
        written = with_slips(ANSWER, share, np.random.default_rng(seed))
        assert len(written.reached) == len(written.ids) + 1
        assert (np.diff(written.reached) >= 0).all()
        assert written.reached[0] == 0
        assert written.reached.max() <= len(ANSWER)
        assert set(written.ids.tolist()) <= set(ANSWER)


def test_what_is_right_leads_to_what_follows_it() -> None:
    written = with_slips(ANSWER, 0.02, np.random.default_rng(1))
    right = written.ids == written.reached[1:] - 1
    assert 0.8 < right.mean() < 1


def test_slips_are_of_every_kind() -> None:
    passed, added, long = 0, 0, 0
    for seed in range(30):
        written = with_slips(ANSWER, 0.02, np.random.default_rng(seed))
        steps = np.diff(written.reached)
        added += int((steps == 0).sum())
        passed += int((np.diff(written.ids[written.ids == written.reached[1:] - 1]) == 2).sum())
        wrong = (written.ids != written.reached[1:] - 1).astype(int)
        runs = np.diff(np.flatnonzero(np.diff(np.r_[0, wrong, 0])))[::2]
        long += int((runs > 4).sum())
    assert min(passed, added, long) > 10


def test_nothing_is_written_of_nothing() -> None:
    assert with_slips([], 0.5, np.random.default_rng(0)).reached.tolist() == [0]
