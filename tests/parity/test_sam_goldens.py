"""What transformers' SamModel and Meta's SamPredictor computed on the toy checkpoint, network by network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from folioscope.model.sam import Sam
from folioscope.weights import load_sam

LOGITS, SCORES = 1e-3, 1e-4
HF_CASES = ("single_point", "points_labels", "two_objects_three_points", "box_one")


@pytest.fixture(scope="module")
def toy(shared: Callable[..., Path]) -> Path:
    return shared("golden", "sam_toy")


@pytest.fixture(scope="module")
def hf(toy: Path) -> Sam:
    return load_sam(toy / "hf_tiny256")


@pytest.fixture(scope="module")
def meta(toy: Path, hf: Sam) -> Sam:
    return load_sam(toy / "orig_tiny256" / "sam_tiny256.pth", config=replace(hf.config, norm_eps=1e-5))


def golden(file: Path) -> Mapping[str, Tensor]:
    return {key: torch.from_numpy(value) for key, value in np.load(file).items()}


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.fixture(scope="module")
def encoded(toy: Path) -> Mapping[str, Tensor]:
    return golden(toy / "hf" / "encoder.npz")


@torch.inference_mode()
def test_encoder(hf: Sam, meta: Sam, encoded: Mapping[str, Tensor]) -> None:
    trace = hf.vit.trace(encoded["pixel_values"])
    assert_near(trace.hidden_states[0], encoded["patch_plus_pos"], 1e-5)
    for number, state in enumerate(trace.hidden_states):
        assert_near(state, encoded[f"hidden_{number}"], 1e-4)
    assert_near(hf.embed(encoded["pixel_values"]), encoded["image_embeddings"], 1e-4)
    assert_near(meta.embed(encoded["pixel_values"]), encoded["image_embeddings"], 1e-4)
    assert_near(hf.prompts.image_positions((16, 16))[None], encoded["dense_pe"], 1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("case", HF_CASES)
def test_hf(hf: Sam, toy: Path, encoded: Mapping[str, Tensor], case: str) -> None:
    expected = golden(toy / "hf" / f"{case}.npz")
    given = {key.removeprefix("in_input_"): value for key, value in expected.items() if key.startswith("in_input_")}
    prediction = hf.predict(encoded["image_embeddings"], **given)
    assert_near(prediction.logits, expected["pred_masks"], LOGITS)
    assert_near(prediction.iou, expected["iou_scores"], SCORES)


@torch.inference_mode()
@pytest.mark.parametrize("case", HF_CASES)
def test_hf_prompts(hf: Sam, toy: Path, case: str) -> None:
    expected = golden(toy / "hf" / f"{case}.npz")
    boxes = expected.get("in_input_boxes")
    points = expected.get("in_input_points", torch.zeros(1, 1, 0, 2))
    labels = expected.get("in_input_labels", torch.ones(points.shape[:3]))
    prompts = hf.prompts(points, labels, boxes, None, (16, 16))
    assert_near(prompts.sparse, expected["sparse"], 1e-5)
    assert_near(prompts.dense[:, 0, :, 0, 0], expected["dense_first"], 1e-6)
    assert_near(prompts.dense.double().sum() * 16 * 16, expected["dense_sum"], 1e-3)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("case", "points", "boxed", "mask", "multimask"),
    [
        ("point1", 1, False, False, True),
        ("points2", 2, False, False, True),
        ("box", 0, True, False, True),
        ("points_box", 2, True, False, True),
        ("mask", 1, False, True, True),
        ("single", 1, False, False, False),
        ("noprompt", 0, False, False, True),
    ],
)
def test_meta(meta: Sam, toy: Path, case: str, points: int, boxed: bool, mask: bool, multimask: bool) -> None:
    expected = golden(toy / "orig" / "predictor_dog_320x533.npz")
    given: dict[str, Tensor] = {}
    if points:
        given["points"] = expected["coords_scaled"][None, None, :points].float()
        given["labels"] = expected["point_labels"][None, None, :points]
    if boxed:
        given["boxes"] = expected["box_scaled"][None].float()
    if mask:  # the best of the first click's
        given["masks"] = expected["point1_low"][None, expected["point1_scores"].argmax()][:, None]
    prediction = meta.predict(expected["features"], **given, multimask=multimask)
    assert_near(prediction.logits[0, 0], expected[f"{case}_low"], LOGITS / 2)
    assert_near(prediction.iou[0, 0], expected[f"{case}_scores"], SCORES)


@torch.inference_mode()
def test_the_layouts_differ_in_one_eps(hf: Sam, meta: Sam, toy: Path) -> None:
    assert hf.config.norm_eps == 1e-6
    expected = golden(toy / "orig" / "predictor_dog_320x533.npz")
    given = {"points": expected["coords_scaled"][None, None], "labels": expected["point_labels"][None, None]}
    given["boxes"] = expected["box_scaled"][None]
    errors = [
        (sam.predict(expected["features"], **given).logits[0, 0] - expected["points_box_low"]).abs().max()
        for sam in (meta, hf)
    ]
    assert errors[0] < LOGITS < errors[1]
