"""Scores, and the whole evaluation on an untrained network."""

from __future__ import annotations

import re

import pytest

from folioscope.train.evaluate import Reading, Score, evaluate, evaluation_pages, read_pages, table
from folioscope.train.layout_score import LayoutScore
from folioscope.train.render import PageStyle
from folioscope.train.trials import TRIALS, Trial


def test_error_rate() -> None:
    score = Score("clean", pages=2, edits=3, characters=60, exact=1, runaway=0)
    assert score.rate(score.edits) == 0.05


def test_the_table_says_what_was_not_measured() -> None:
    text = Score("clean", pages=20, edits=3, characters=60, exact=1, runaway=0, loose_edits=1, rival_edits=6)
    found, rougher = (LayoutScore(found=3, there=5, matched=matched, labelled=1) for matched in (2, 1))
    layout = Score("layout", 20, 3, 60, 1, 0, layout=found, unfitted=rougher)
    headings, first, second = (line.split() for line in table([text, layout]).splitlines())
    assert headings == [
        "trial",
        "pages",
        "characters",
        "errors",
        "loose",
        "rival",
        "exact",
        "runaway",
        "region",
        "F1",
        "unfitted",
        "labels",
    ]
    assert first == ["clean", "20", "60", "5.00%", "1.67%", "10.00%", "1", "0", "-", "-", "-"]
    assert second == ["layout", "20", "60", "5.00%", "0.00%", "-", "1", "0", "0.500", "0.250", "0.500"]


def test_regions_are_compared_as_written_and_fitted_to_the_ink(
    tiny_reader: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    (page,) = evaluation_pages(PageStyle(side=384, lines=(1, 1), layout=0, degrade=0, texts="held_out"), 1)
    (numbers,) = re.findall(r"\[\[(.*)\]\]", page.grounded)
    left, top, right, bottom = map(int, numbers.split(", "))
    off = (bottom - top) // 2  # half a line too low: met by a third
    written = page.grounded.replace(numbers, f"{left}, {top + off}, {right}, {bottom + off}")
    monkeypatch.setattr("folioscope.train.evaluate.decode", lambda *_: [(written, True)])
    (reading,) = read_pages(*tiny_reader, [page], "markdown")
    assert (reading.unfitted.matched, reading.layout.matched) == (0, 1)


def test_evaluation_pages_are_the_same_every_time_and_of_held_out_text() -> None:
    style = PageStyle(side=256, degrade=0.5, texts="held_out")
    once, again = evaluation_pages(style, 3), evaluation_pages(style, 3)
    assert [page.plain for page in once] == [page.plain for page in again]
    assert once[0].image.tobytes() == again[0].image.tobytes()


@pytest.mark.parametrize("prompt", ["free", "markdown"])
def test_an_untrained_network_reads_nothing_and_runs_away(tiny_reader: tuple, prompt: str) -> None:
    model, tokenizer = tiny_reader
    seen: list[Reading] = []
    trial = Trial("short", PageStyle(side=256, lines=(1, 1), degrade=0), prompt)
    score = evaluate(model, tokenizer, trial, 2, seen.append)
    assert (score.pages, len(seen), score.exact) == (2, 2, 0)
    assert score.characters == sum(len(reading.truth) for reading in seen)
    assert score.rate(score.edits) > 0.5
    assert (score.layout is None) == (prompt == "free")


def test_a_rival_reads_the_same_images(tiny_reader: tuple) -> None:
    model, tokenizer = tiny_reader
    trial = Trial("short", PageStyle(side=256, lines=(1, 1), degrade=0))
    pages = {page.image.tobytes(): page.plain for page in evaluation_pages(trial.style, 2)}
    score = evaluate(model, tokenizer, trial, 2, rival=lambda image: pages[image.tobytes()].replace(" ", " \n"))
    assert score.rival_edits == 0


def test_every_trial_is_of_texts_training_never_draws() -> None:
    assert {trial.style.texts for trial in TRIALS} == {"held_out"}
    assert len({trial.name for trial in TRIALS}) == len(TRIALS)
