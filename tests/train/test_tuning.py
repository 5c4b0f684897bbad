"""Fine-tuning trains what is behind the encoder, on embeddings that are kept, and resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from folioscope.train.coco import Labelled
from folioscope.train.run import MODEL, Progress
from folioscope.train.segmenter_recipe import FINE_TUNING
from folioscope.train.tuning import EMBEDDINGS, SegmenterTuning
from folioscope.weights import load_sam, save_sam
from random_sam import random_sam

RECIPE = replace(FINE_TUNING, stages=(replace(FINE_TUNING.stages[0], steps=4, images=2, objects=2),), every=2)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_sam(random_sam(), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def images(tmp_path: Path) -> list[Labelled]:
    """A light square on dark grey, elsewhere in each."""
    labelled = []
    for number, (x, y) in enumerate([(8, 8), (40, 10), (24, 36)]):
        picture = Image.new("RGB", (80, 64), (40, 40, 40))
        picture.paste((220, 210, 200), (x, y, x + 24, y + 20))
        picture.save(tmp_path / f"{number}.png")
        outline = [[x, y, x + 24, y, x + 24, y + 20, x, y + 20]]
        labelled.append(Labelled(tmp_path / f"{number}.png", (80, 64), (outline,)))
    return labelled


def run(folder: Path, images: list[Labelled], checkpoint: Path, recipe=RECIPE) -> list[Progress]:
    seen: list[Progress] = []
    SegmenterTuning(recipe, folder, images, checkpoint).run(seen.append, 1)
    return seen


def test_only_what_is_behind_the_encoder_changes(tmp_path: Path, images: list[Labelled], checkpoint: Path) -> None:
    run(tmp_path / "run", images, checkpoint)
    before, after = (load_sam(path).state_dict() for path in (checkpoint, tmp_path / "run" / MODEL))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any(name.startswith("vit.") for name in changed)
    assert any(name.startswith("masks.") for name in changed)


def test_every_image_is_embedded_once_at_most(tmp_path: Path, images: list[Labelled], checkpoint: Path) -> None:
    run(tmp_path / "run", images, checkpoint)
    assert 1 <= len(list((tmp_path / "run" / EMBEDDINGS).iterdir())) <= len(images)


def test_a_resumed_run_is_the_undisturbed_run(tmp_path: Path, images: list[Labelled], checkpoint: Path) -> None:
    whole = run(tmp_path / "whole", images, checkpoint)
    training = SegmenterTuning(RECIPE, tmp_path / "cut", images, checkpoint)
    with pytest.raises(KeyboardInterrupt):  # killed at step 3, one step after its last checkpoint
        training.run(lambda progress: interrupt() if progress.step == 3 else None, log_every=1)
    rest = run(tmp_path / "cut", images, checkpoint)
    assert [p.step for p in rest] == [3, 4]
    assert [p.means for p in rest] == [p.means for p in whole[2:]]


def interrupt() -> None:
    raise KeyboardInterrupt


def test_it_learns_what_it_is_shown(tmp_path: Path, images: list[Labelled], checkpoint: Path) -> None:
    stage = replace(RECIPE.stages[0], steps=40, images=3, rounds=(1.0,))
    seen = run(tmp_path / "run", images, checkpoint, replace(RECIPE, stages=(stage,), lr=1e-2, every=60))
    first, last = (sum(p.means["focal"] for p in some) for some in (seen[:8], seen[-8:]))
    assert last < 0.7 * first
