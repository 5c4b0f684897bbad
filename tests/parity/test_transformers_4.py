"""Files in both directions with transformers 4, as it really writes and reads them; `make parity` runs these."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope import AutoProcessor, SamImageProcessor, SamModel, SamProcessor
from random_sam import random_sam
from reference_sam import SHAPES, SIDE, random_reference

transformers = pytest.importorskip("transformers")
if int(transformers.__version__.partition(".")[0]) != 4:
    pytest.skip(f"transformers is {transformers.__version__}, not 4", allow_module_level=True)

SETTINGS: dict[str, Any] = {"size": {"longest_edge": SIDE}, "pad_size": {"height": SIDE, "width": SIDE}}
PROMPTS: dict[str, Any] = {"input_points": [[[[30.0, 40.0]], [[9.0, 8.0]]]], "return_tensors": "pt"}


@pytest.fixture(autouse=True)
def _no_warnings_of_theirs() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (77, 131, 3), dtype=np.uint8))


def assert_same(model: Any, processor: Any, their_model: Any, their_processor: Any, photo: Image.Image) -> None:
    inputs, theirs = processor(images=photo, **PROMPTS), their_processor(images=photo, **PROMPTS)
    for name in ("pixel_values", "input_points", "original_sizes", "reshaped_input_sizes"):
        assert inputs[name].equal(theirs[name]), name
    with torch.no_grad():
        found, expected = model(**inputs), their_model(**theirs)
    torch.testing.assert_close(found.pred_masks, expected.pred_masks, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found.iou_scores, expected.iou_scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", ["5GB", "40KB"])
@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_we_load_what_they_save(shape: str, safe: bool, size: str, photo: Image.Image, tmp_path: Path) -> None:
    theirs = random_reference(*SHAPES[shape])
    processor = transformers.SamProcessor(transformers.SamImageProcessor(**SETTINGS))
    theirs.save_pretrained(tmp_path, safe_serialization=safe, max_shard_size=size)
    processor.save_pretrained(tmp_path)
    kind = "safetensors" if safe else "bin"
    assert len(list(tmp_path.glob(f"*.{kind}"))) == 1 if size == "5GB" else list(tmp_path.glob(f"*.{kind}.index.json"))
    ours = SamModel.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(ours[1], SamProcessor)
    assert_same(*ours, theirs, processor, photo)


@pytest.mark.parametrize("size", ["5GB", "20KB"])
def test_they_load_what_we_save(size: str, photo: Image.Image, tmp_path: Path) -> None:
    ours = SamModel(random_sam()), SamProcessor(SamImageProcessor(**SETTINGS))
    ours[0].save_pretrained(tmp_path, max_shard_size=size)
    ours[1].save_pretrained(tmp_path)
    theirs, report = transformers.SamModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("unexpected_keys", "mismatched_keys", "error_msgs"))
    assert_same(*ours, theirs.eval(), transformers.SamProcessor.from_pretrained(tmp_path, use_fast=False), photo)
    assert type(transformers.AutoProcessor.from_pretrained(tmp_path, use_fast=False)).__name__ == "SamProcessor"
