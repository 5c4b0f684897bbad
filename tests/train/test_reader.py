"""Training runs: the loss falls, a resumed run is the undisturbed run, the export loads."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from folioscope.train.optimize import rate
from folioscope.train.reader import ReaderTraining
from folioscope.train.recipe import ReaderRecipe, Stage
from folioscope.train.render import PageStyle
from folioscope.train.run import LOG, MODEL, SCORES, Progress
from folioscope.types import InputError
from folioscope.weights import load_ocr

STYLE = PageStyle(side=256, lines=(1, 1), type_px=(30, 34), degrade=0, layout=0)
RECIPE = ReaderRecipe(stages=(Stage(6, 256, 2, STYLE),), warmup=2, decay=0.5, every=3)


def run(recipe: ReaderRecipe, folder: Path, config: dict[str, Any], log_every: int = 1) -> list[Progress]:
    seen: list[Progress] = []
    ReaderTraining(recipe, folder, config).run(seen.append, log_every)
    return seen


def test_a_resumed_run_is_the_undisturbed_run(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    whole = run(RECIPE, tmp_path / "whole", tiny_config)
    training = ReaderTraining(RECIPE, tmp_path / "cut", tiny_config)
    with pytest.raises(KeyboardInterrupt):  # killed at step 5, two steps after its last checkpoint
        training.run(lambda progress: interrupt() if progress.step == 5 else None, log_every=1)
    rest = run(RECIPE, tmp_path / "cut", tiny_config)
    assert [p.step for p in rest] == [4, 5, 6]
    assert [p.means["text"] for p in rest] == [p.means["text"] for p in whole[3:]]
    ours, theirs = (load_ocr(tmp_path / name / MODEL)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_the_loss_falls_and_is_logged(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    recipe = replace(RECIPE, stages=(Stage(30, 256, 2, STYLE),), every=30)
    seen = run(recipe, tmp_path, tiny_config, log_every=10)
    assert seen[-1].means["text"] < seen[0].means["text"] - 0.3
    assert [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()] == [10, 20, 30]


def test_held_out_pages_are_looked_at_with_every_checkpoint(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    run(replace(RECIPE, looks=2), tmp_path, tiny_config)
    looks = [json.loads(line) for line in (tmp_path / SCORES).read_text().splitlines()]
    assert [look["step"] for look in looks] == [3, 6]
    assert all(look["pages"] == 2 and look["errors"] > 0 for look in looks)
    with Image.open(tmp_path / "readings.png") as sheet:
        assert sheet.width > 2 * STYLE.side


def test_a_run_ends_when_its_time_is_over_and_goes_on_later(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    ReaderTraining(RECIPE, tmp_path, tiny_config).run(lambda _: None, minutes=0)
    assert [p.step for p in run(RECIPE, tmp_path, tiny_config)] == [2, 3, 4, 5, 6]


def test_a_run_that_goes_astray_stops_and_keeps_what_it_had(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    training = ReaderTraining(RECIPE, tmp_path, tiny_config)

    def spoil(progress: Progress) -> None:
        if progress.step == 4:  # one step after the checkpoint
            training.model.decoder.norm.weight.data.fill_(math.nan)

    with pytest.raises(InputError, match="step 5: the gradient is not finite"):
        training.run(spoil, log_every=1)
    assert all(weight.isfinite().all() for weight in load_ocr(tmp_path / MODEL)[0].state_dict().values())
    assert [p.step for p in run(RECIPE, tmp_path, tiny_config)] == [4, 5, 6]


def test_the_rate_of_a_step_is_that_of_its_products(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    seen = run(RECIPE, tmp_path, tiny_config)
    assert all(p.operations_per_second > 1e8 for p in seen)
    logged = json.loads((tmp_path / LOG).read_text().splitlines()[0])
    assert logged["operations_per_second"] > 1e8
    assert logged["pixels"] == STYLE.side
    assert logged["side"] == seen[0].means["side"], "a loss, not a side in pixels"


def test_the_export_is_a_checkpoint_in_bfloat16(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    run(RECIPE, tmp_path, tiny_config)
    model, carried = load_ocr(tmp_path / MODEL)
    assert model.dtype == torch.bfloat16
    assert not carried
    assert {path.name for path in (tmp_path / MODEL).iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_the_learning_rate_rises_stays_and_falls() -> None:
    recipe = replace(RECIPE, stages=(Stage(100, 256, 2, STYLE),), warmup=10, decay=0.5)
    rates = [rate(step, recipe) for step in range(100)]
    assert rates[:11] == pytest.approx([*(n / 10 for n in range(1, 11)), 1.0])
    assert set(rates[10:50]) == {1.0}
    assert rates[99] == pytest.approx(0.02)


def test_a_run_starts_from_the_weights_it_is_given(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    run(RECIPE, tmp_path / "first", tiny_config)
    given, _ = load_ocr(tmp_path / "first" / MODEL, dtype=torch.float32)
    second = ReaderTraining(RECIPE, tmp_path / "second", tiny_config, init=tmp_path / "first" / MODEL)
    ours, theirs = second.averaged.state_dict(), given.state_dict()
    assert second.step == 0
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_run_starts_as_the_shallower_network_it_is_given(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    run(RECIPE, tmp_path / "first", tiny_config)
    given, _ = load_ocr(tmp_path / "first" / MODEL, dtype=torch.float32)
    deeper = copy.deepcopy(tiny_config)
    deeper["vision_config"]["width"]["sam_vit_b"]["layers"] += 2
    second = ReaderTraining(RECIPE, tmp_path / "second", deeper, init=tmp_path / "first" / MODEL)
    view = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(second.model.encoder(view), given.encoder(view))
    second.run(lambda _: None)
    learnt = load_ocr(tmp_path / "second" / MODEL)[0].encoder.vit.state_dict()
    last = [part for name, part in learnt.items() if name.endswith("mlp.lin2.weight")]
    assert len(last) == 3
    assert all(part.abs().max() > 0 for part in last)
