"""Random checkpoints of many shapes through transformers' Unlimited-OCR, whose network is DeepSeek-OCR's.

With a sliding window longer than any text the two compute the same, from the same published file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope import DeepseekOCRForCausalLM, DeepseekOCRProcessor
from folioscope.bench.against import unlimited_config
from folioscope.config import OcrConfig
from folioscope.processing import BatchFeature
from random_ocr import CLIP, COMPRESSOR, DECODER, VIT, published_config, random_ocr

transformers = pytest.importorskip("transformers", minversion="5.23")
NEW_TOKENS = 16


@dataclass(frozen=True)
class Case:
    """A checkpoint's shape, and pages (width, height, keywords of the processor) to read with it."""

    pages: list[tuple[int, int, dict[str, Any]]]
    vit: dict[str, Any] = field(default_factory=dict)
    clip: dict[str, Any] = field(default_factory=dict)
    decoder: dict[str, Any] = field(default_factory=dict)
    compressor: list[int] = field(default_factory=lambda: COMPRESSOR)

    def published(self) -> dict[str, Any]:
        return published_config(VIT | self.vit, CLIP | self.clip, DECODER | self.decoder, self.compressor)


def one_view(size: int) -> dict[str, Any]:
    return {"base_size": size, "image_size": size, "crop_mode": False}


QUICK = {
    "one expert of four, tiles 2x1 and 1x2": Case(
        [(1300, 650, {"base_size": 512}), (400, 800, {"base_size": 640})],
        decoder={"num_experts_per_tok": 1, "n_shared_experts": 1},
    ),
    "three layers of eight experts, tiles 2x2": Case(
        [(700, 700, {"base_size": 512}), (90, 60, one_view(640))],
        vit={"width": 24, "layers": 3, "heads": 2, "global_attn_indexes": [1]},
        clip={"width": 24, "layers": 2, "heads": 3},
        decoder={"num_hidden_layers": 4, "n_routed_experts": 8, "num_experts_per_tok": 3, "num_attention_heads": 4}
        | {"num_key_value_heads": 4},
        compressor=[20, 24],
    ),
    "two dense layers, tables for 1024, tiles 3x1": Case(
        [(2000, 640, {"base_size": 512}), (300, 200, one_view(512))],
        vit={"layers": 2, "global_attn_indexes": [0], "image_size": 1024},
        clip={"image_size": 112},
        decoder={"num_hidden_layers": 4, "first_k_dense_replace": 2, "hidden_size": 48, "n_routed_experts": 6},
    ),
    "only experts, views of 1024": Case(
        [(800, 600, one_view(1024)), (500, 380, {})],
        vit={"neck_channels": 16, "window_size": 7},
        decoder={"first_k_dense_replace": 0, "num_key_value_heads": 1, "num_hidden_layers": 2},
    ),
}

LARGE = {
    "Gundam at most tiles": Case(
        [(2000, 2000, {}), (3000, 300, {}), (1654, 2339, {})],
        vit={"width": 48, "layers": 4, "heads": 4, "global_attn_indexes": [1, 3], "image_size": 1024},
        clip={"width": 64, "layers": 3, "heads": 4},
        decoder={"hidden_size": 64, "num_hidden_layers": 6, "n_routed_experts": 64, "num_experts_per_tok": 6},
        compressor=[48, 64],
    ),
    "Large view": Case(
        [(1000, 1400, one_view(1280)), (1300, 650, {"base_size": 1280})],
        vit={"width": 48, "layers": 4, "heads": 4, "global_attn_indexes": [1, 3], "image_size": 1024},
        clip={"width": 64, "layers": 3, "heads": 4},
        compressor=[48, 64],
    ),
}


@pytest.fixture(scope="module")
def processor(shared: Callable[..., Path]) -> DeepseekOCRProcessor:
    return DeepseekOCRProcessor.from_pretrained(shared("golden", "deepseek_toy"))


def reference(folder: Path, image_id: int, published: dict[str, Any]) -> Any:
    """The checkpoint in `folder` as transformers loads it, without renaming a key."""
    unlimited_config(OcrConfig.from_dict(published), image_id).save_pretrained(folder)
    return transformers.UnlimitedOcrForConditionalGeneration.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()


def their_inputs(inputs: BatchFeature) -> dict[str, Any]:
    grid = inputs.images_spatial_crop.tolist()
    tiles = inputs.get("pixel_values_local")
    named = {"input_ids": inputs.input_ids, "pixel_values": inputs.pixel_values}
    if tiles is None:
        return named
    return {**named, "pixel_values_local": tiles, "num_local_patches": [len(tiles)], "patches_grid": grid}


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height))


@torch.no_grad()
def compare(case: Case, processor: DeepseekOCRProcessor, folder: Path) -> None:
    random_ocr(case.published()).save_pretrained(folder)
    ours = DeepseekOCRForCausalLM.from_pretrained(folder)
    theirs = reference(folder, processor.tokenizer.image_id, case.published())
    for width, height, keywords in case.pages:
        inputs = processor("<image>\nFree OCR.", picture(width, height), **keywords)
        given = their_inputs(inputs)
        pixels = {name: value for name, value in given.items() if name != "input_ids"}
        tokens = torch.cat(theirs.model.get_image_features(**pixels).pooler_output)
        torch.testing.assert_close(ours.get_image_features(**inputs), tokens, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours(**inputs).logits, theirs(**given).logits, atol=5e-4, rtol=0)
        for size in (0, 3):
            limits = {"max_new_tokens": NEW_TOKENS, "no_repeat_ngram_size": size}
            ids = theirs.generate(**given, **limits, do_sample=False, eos_token_id=-1, pad_token_id=2)
            new = ids[:, inputs.input_ids.shape[1] :]
            assert ours.generate(**inputs, **limits, eos_token_id=-1).equal(new)


@pytest.mark.parametrize("name", QUICK)
def test_the_same_as_transformers(name: str, processor: DeepseekOCRProcessor, tmp_path: Path) -> None:
    compare(QUICK[name], processor, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_same_as_transformers_when_large(name: str, processor: DeepseekOCRProcessor, tmp_path: Path) -> None:
    compare(LARGE[name], processor, tmp_path)
