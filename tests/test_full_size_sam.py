"""vit_b at the published size, with random weights: saved, loaded, and a photo cut up, by both of its interfaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope import AutoProcessor, SamModel, SamProcessor, Segmenter
from folioscope.config import SamConfig
from random_sam import random_sam

pytestmark = pytest.mark.slow

POINT, SIZE = (450.0, 300.0), (900, 600)
FILES = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit_b")
    SamModel(random_sam(SamConfig())).save_pretrained(folder, max_shard_size="250MB")
    assert sorted(path.name for path in folder.iterdir()) == [*FILES, "model.safetensors.index.json"]
    SamProcessor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photo(shared: Callable[..., Path]) -> Image.Image:
    return Image.open(shared("golden", "sam_toy", "images", "truck_900x600.png"))


def test_a_photo_is_cut_up(checkpoint: Path, photo: Image.Image) -> None:
    segmenter = Segmenter.from_pretrained(checkpoint)
    scene = segmenter.embed(photo)
    masks = segmenter.predict(scene, points=[POINT])
    assert scene.embedding.shape == (256, 64, 64)
    assert [mask.array.shape for mask in masks] == [SIZE[::-1]] * 3

    model, processor = SamModel.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint)
    assert isinstance(processor, SamProcessor)
    assert sum(weight.numel() for weight in model.state_dict().values()) == pytest.approx(93.7e6, rel=1e-3)
    inputs = processor(photo, input_points=[[[POINT]]], return_tensors="pt")
    assert inputs.pop("pixel_values").shape == (1, 3, 1024, 1024)
    with torch.no_grad():
        outputs = model(**inputs, image_embeddings=scene.embedding[None])
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    (logits,) = processor.post_process_masks(outputs.pred_masks, *sizes, binarize=False)
    assert logits.isfinite().all()
    for mask, same, score in zip(masks, logits[0].numpy(), outputs.iou_scores[0, 0].tolist(), strict=True):
        assert np.abs(mask.logits - same).max() < 1e-3 * max(1, np.abs(same).max())
        assert mask.score == pytest.approx(score, abs=1e-3)
