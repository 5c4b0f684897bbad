"""Training on one's own pages: all weights, half of them, or adapters that load where others' do."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from folioscope.quantize import load_reader
from folioscope.train.layout import PageStyle
from folioscope.train.own_pages import OwnPage, load_pages, save_pages
from folioscope.train.tune import Tuning, tune_recipe
from folioscope.types import InputError
from folioscope.weights import load_ocr, save_ocr

STYLE = PageStyle(side=256, lines=(1, 1), type_px=(18, 20), degrade=0, layout=0)


@pytest.fixture(scope="module")
def checkpoint(tiny_reader: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, tokenizer = tiny_reader
    folder = tmp_path_factory.mktemp("checkpoint")
    save_ocr(model, {}, folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[OwnPage]:
    return load_pages(save_pages(tmp_path_factory.mktemp("pages"), STYLE, 3))


def run(tuning: Tuning) -> list[float]:
    """The text losses of a run."""
    losses: list[float] = []
    tuning.run(lambda progress: losses.append(progress.means["text"]), log_every=1)
    return losses


def changed(checkpoint: Path, folder: Path) -> set[str]:
    before, after = (load_ocr(place, dtype=torch.float32)[0].state_dict() for place in (checkpoint, folder))
    return {name for name in before if not before[name].bfloat16().equal(after[name].bfloat16())}  # as exported


def test_the_loss_falls_and_the_run_resumes(checkpoint: Path, pages: list[OwnPage], tmp_path: Path) -> None:
    recipe = tune_recipe(8, lr=3e-3, pages=2)
    first = Tuning(recipe, pages, checkpoint, tmp_path)
    losses = run(first)
    assert losses[-1] < losses[0]
    again = Tuning(recipe, pages, checkpoint, tmp_path)
    assert (again.step, again.measure()) == (8, first.measure())


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_frozen_half_stays_as_it_is(checkpoint: Path, pages: list[OwnPage], tmp_path: Path, half: str) -> None:
    run(Tuning(tune_recipe(2, pages=2, freeze=half), pages, checkpoint, tmp_path))
    names = changed(checkpoint, tmp_path / "model")
    assert names
    assert not any(name.startswith(half) for name in names)


def test_adapters_load_as_they_were_trained(checkpoint: Path, pages: list[OwnPage], tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    tuning = Tuning(tune_recipe(3, lr=1e-2, pages=2, lora=2), pages, checkpoint, tmp_path)
    run(tuning)
    merged, _ = load_reader(checkpoint, dtype=torch.float32, adapter=tmp_path / "model")
    plain, _ = load_reader(checkpoint, dtype=torch.float32)
    ids = torch.arange(2, 22)[None]
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    with tuning._as_averaged(), torch.no_grad():
        trained = copy.deepcopy(tuning.network)(ids, nothing, [None])
    torch.testing.assert_close(merged(ids, nothing, [None]), trained, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain(ids, nothing, [None]), trained, atol=1e-3)


def test_no_such_half() -> None:
    with pytest.raises(InputError, match='freeze "head": must be one of encoder, decoder'):
        tune_recipe(1, freeze="head")
