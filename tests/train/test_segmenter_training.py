"""Segmenter's training runs: the loss falls, a resumed run is the undisturbed run, the export is a published SAM."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope.config import SamConfig
from folioscope.model.sam_prompts import PADDING
from folioscope.processing import SamProcessor
from folioscope.segment import Segmenter
from folioscope.train.composites.compose import CompositeStyle, compose
from folioscope.train.composites.objects import shelf
from folioscope.train.run import LOG, MODEL, Progress
from folioscope.train.scenes import SceneBatches, make_batch
from folioscope.train.segmenter import SegmenterTraining, at_side, new_sam
from folioscope.train.segmenter_recipe import EMBEDDED_CONFIG, SceneStage, SegmenterRecipe
from folioscope.weights import load_sam
from random_sam import SMALL

STYLE = CompositeStyle(side=64, objects=(1, 3), size=(0.3, 0.7))
STAGE = SceneStage(6, 2, 3, (0.5, 0.3, 0.2), STYLE, pages=0.3)
RECIPE = SegmenterRecipe(stages=(STAGE,), warmup=2, decay=0.5, every=3, looks=0)


@pytest.fixture(autouse=True, scope="module")
def _shelf() -> None:
    """The worker of a run inherits what its parent has found, where processes are forked."""
    shelf("train")


def run(recipe: SegmenterRecipe, folder: Path, log_every: int = 1, config: SamConfig = SMALL) -> list[Progress]:
    seen: list[Progress] = []
    SegmenterTraining(recipe, folder, config).run(seen.append, log_every)
    return seen


def test_a_resumed_run_is_the_undisturbed_run(tmp_path: Path) -> None:
    whole = run(RECIPE, tmp_path / "whole")
    training = SegmenterTraining(RECIPE, tmp_path / "cut", SMALL)
    with pytest.raises(KeyboardInterrupt):  # killed at step 5, two steps after its last checkpoint
        training.run(lambda progress: interrupt() if progress.step == 5 else None, log_every=1)
    rest = run(RECIPE, tmp_path / "cut")
    assert [p.step for p in rest] == [4, 5, 6]
    assert [p.means for p in rest] == [p.means for p in whole[3:]]
    ours, theirs = (load_sam(tmp_path / name / MODEL).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_the_loss_falls_and_is_logged(tmp_path: Path) -> None:
    recipe = replace(RECIPE, stages=(replace(STAGE, steps=30, pages=0),), every=30)
    seen = run(recipe, tmp_path, log_every=10)
    assert seen[-1].means["focal"] < 0.9 * seen[0].means["focal"]
    assert [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()] == [10, 20, 30]


def test_the_export_is_a_published_checkpoint(tmp_path: Path) -> None:
    run(RECIPE, tmp_path)
    segmenter = Segmenter.from_pretrained(tmp_path / MODEL, dtype=None)
    assert segmenter.model.dtype == torch.bfloat16
    assert SamProcessor.from_pretrained(tmp_path / MODEL).image_processor.size == {"longest_edge": 64}
    picture = compose(STYLE, 0)
    masks = segmenter.predict(segmenter.embed(picture.image), points=[[20, 20]])
    assert masks[0].array.shape == picture.masks.shape[1:]


def test_transformers_reads_the_export(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    run(RECIPE, tmp_path)
    theirs = transformers.SamModel.from_pretrained(tmp_path / MODEL, dtype=torch.float32)
    processor = transformers.SamProcessor.from_pretrained(tmp_path / MODEL)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    inputs = processor(picture, input_points=[[[20, 20]]], return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs).pred_masks[0]
    segmenter = Segmenter.from_pretrained(tmp_path / MODEL, dtype="float32")
    given = segmenter.predict(segmenter.embed(picture), points=[[20, 20]])
    low = torch.from_numpy(np.stack([mask.low_logits for mask in given]))
    torch.testing.assert_close(low[None], expected, atol=2e-4, rtol=1e-4)


def test_a_run_starts_from_the_weights_it_is_given(tmp_path: Path) -> None:
    run(RECIPE, tmp_path / "first")
    given = load_sam(tmp_path / "first" / MODEL, dtype=torch.float32).state_dict()
    second = SegmenterTraining(RECIPE, tmp_path / "second", SMALL, init=tmp_path / "first" / MODEL)
    ours = second.averaged.state_dict()
    assert second.step == 0
    assert all(torch.equal(ours[key], given[key]) for key in given)


def test_a_run_may_start_from_a_shallower_network_for_other_pictures(tmp_path: Path) -> None:
    run(RECIPE, tmp_path / "first")
    deeper = replace(SMALL, vit=replace(SMALL.vit, image_size=128, layers=4))
    training = SegmenterTraining(RECIPE, tmp_path / "second", deeper, init=tmp_path / "first" / MODEL)
    assert (training.model.config.vit.layers, training.model.config.vit.image_size) == (4, 64)
    training.run(lambda _: None)
    assert load_sam(tmp_path / "second" / MODEL).config.vit.layers == 4


def test_a_batch_prompts_for_every_object_and_shows_where_it_is() -> None:
    scenes = [compose(replace(STYLE, objects=(3, 3)), seed) for seed in range(2)]
    batch = make_batch(scenes, replace(STAGE, objects=9), SMALL, np.random.default_rng(0))
    assert batch.pixels.shape == (2, 3, 64, 64)
    assert batch.prompts.targets.shape == (2, 9, 32, 32)
    has_click, has_box = batch.prompts.labels[..., 0] != PADDING, batch.prompts.boxes[..., 0] != PADDING
    assert (has_click | has_box).all()
    assert has_click.any()
    assert has_box.any()
    for picture, row in ((0, 0), (1, 4)):
        x, y = (batch.prompts.inside[picture, row] // 2).long().tolist()
        assert batch.prompts.targets[picture, row, y, x] > 0
    for scene, targets in zip(scenes, batch.prompts.targets, strict=True):
        areas = sorted({round(float(target.float().sum()) / 255 * 4) for target in targets})
        assert np.allclose(areas, sorted(set(scene.masks.sum((1, 2)).tolist())), atol=3)


def test_a_step_is_the_same_batch_wherever_a_run_resumes() -> None:
    one, same, other = (SceneBatches(RECIPE, SMALL)[step] for step in (2, 2, 3))
    assert torch.equal(one.pixels, same.pixels)
    assert torch.equal(one.prompts.points, same.prompts.points)
    assert not torch.equal(one.pixels, other.pixels)


def test_the_network_at_another_side_is_the_one_that_resizes_its_tables() -> None:
    model = new_sam(SMALL).eval()
    other = at_side(model.state_dict(), SMALL, 96)
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(other.embed(pixels), model.embed(pixels))
    assert other.config.vit.grid == 12


def test_the_embedded_network_is_small() -> None:
    parameters = sum(p.numel() for p in new_sam(EMBEDDED_CONFIG).parameters())
    assert 2 * parameters < 12e6
