"""What Meta's SamPredictor and SamAutomaticMaskGenerator gave for whole images, and transformers' masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analytic_sam import AnalyticSam
from folioscope.export.masks import record
from folioscope.masks import Mask
from folioscope.pages import open_page
from folioscope.segment import EverythingOptions, Scene, Segmenter
from folioscope.views import SamFrame, sam_view, unmap_masks
from folioscope.weights import load_sam

LOGITS, SCORES = 1e-3, 1e-4


@pytest.fixture(scope="module")
def toy(shared: Callable[..., Path]) -> Path:
    return shared("golden", "sam_toy")


@pytest.fixture(scope="module")
def segmenter(toy: Path) -> Segmenter:
    config = replace(load_sam(toy / "hf_tiny256").config, norm_eps=1e-5)
    return Segmenter(load_sam(toy / "orig_tiny256" / "sam_tiny256.pth", config=config))


@pytest.fixture(scope="module")
def predictor(toy: Path) -> dict[str, np.ndarray]:
    return dict(np.load(toy / "orig" / "predictor_dog_320x533.npz"))


@pytest.fixture(scope="module")
def scene(toy: Path, segmenter: Segmenter) -> Scene:
    return segmenter.embed(toy / "images" / "dog_320x533.png")


def test_embedding(scene: Scene, predictor: dict[str, np.ndarray]) -> None:
    assert list(scene.frame.scaled[::-1]) == predictor["input_size"].tolist()
    assert list(scene.frame.size[::-1]) == predictor["original_size"].tolist()
    assert np.abs(scene.embedding.numpy() - predictor["features"][0]).max() < 1e-4


@pytest.mark.parametrize(
    ("case", "points", "boxed", "masked"),
    [
        ("point1", 1, False, False),
        ("points2", 2, False, False),
        ("box", 0, True, False),
        ("points_box", 2, True, False),
        ("mask", 1, False, True),
        ("single", 1, False, False),
        ("noprompt", 0, False, False),
    ],
)
def test_predictor(
    segmenter: Segmenter,
    scene: Scene,
    predictor: dict[str, np.ndarray],
    case: str,
    points: int,
    boxed: bool,
    masked: bool,
) -> None:
    prompt: dict[str, Any] = {}
    if points:
        prompt = {"points": predictor["point_coords"][:points], "labels": predictor["point_labels"][:points]}
    if boxed:
        prompt["box"] = predictor["box"]
    if masked:  # the best of the first click's
        prompt["mask"] = predictor["point1_low"][predictor["point1_scores"].argmax()]
    masks = segmenter.predict(scene, **prompt, multimask=case != "single")
    assert_masks(masks, predictor[f"{case}_packed"], predictor[f"{case}_shape"])
    low, scores = np.stack([mask.low_logits for mask in masks]), [mask.score for mask in masks]
    assert np.abs(low - predictor[f"{case}_low"]).max() < LOGITS
    assert np.abs(np.array(scores) - predictor[f"{case}_scores"]).max() < SCORES


def assert_masks(masks: list[Mask], packed: np.ndarray, shape: np.ndarray) -> None:
    expected = np.unpackbits(packed, count=int(shape.prod())).reshape(shape).astype(bool)
    certain = np.abs(np.stack([mask.logits for mask in masks])) > LOGITS
    found = np.stack([mask.array for mask in masks])
    assert found.shape == expected.shape
    assert certain.mean() > 0.99
    assert (found == expected)[certain].all()


def test_post_processing(toy: Path) -> None:
    low = torch.from_numpy(np.load(toy / "hf" / "single_point.npz")["pred_masks"])[0, 0]
    expected = np.load(toy / "hf" / "post_process_single_point.npz")
    logits = next(unmap_masks(low[None], SamFrame((900, 600), 256).placement))[0].numpy()
    sampled = logits.ravel()[expected["logit_index_0"]]
    assert np.abs(sampled - expected["logit_0"]).max() < 1e-4
    masks = np.unpackbits(expected["packed_0"], count=logits.size).reshape(logits.shape).astype(bool)
    assert ((logits > 0) == masks)[np.abs(logits) > LOGITS].all()


@pytest.mark.parametrize("side", [256, 1024])
def test_view(toy: Path, side: int) -> None:
    view = sam_view(open_page(toy / "images" / "truck_900x600.png").image, side)
    expected = np.load(toy / "processor" / f"truck_900x600_{side}.npz")
    sampled = view.pixels.numpy().ravel()[expected["sample_index"]]
    assert np.abs(sampled - expected["sample_value"]).max() < 1e-6
    assert list(view.frame.scaled[::-1]) == expected["reshaped_input_sizes"][0].tolist()


def test_everything(toy: Path) -> None:
    golden = json.loads((toy / "orig" / "amg_analytic_crops_coco_rle.json").read_text())
    options = EverythingOptions(
        points_per_side=6,
        crop_n_layers=1,
        crop_n_points_downscale_factor=2,
        pred_iou_thresh=0.7,
        stability_score_thresh=0.55,
    )
    masks = Segmenter(AnalyticSam()).segment_all(toy / "images" / "truck_900x600.png", options)
    found = [record(mask, "coco_rle") for mask in masks]
    measured = ("predicted_iou", "stability_score")
    for ours, theirs in zip(found, golden, strict=True):
        assert {key: value for key, value in ours.items() if key not in measured} == {
            key: value for key, value in theirs.items() if key not in measured
        }
        assert [ours[key] for key in measured] == pytest.approx([theirs[key] for key in measured], abs=1e-6)
