"""Checkpoints of the published sizes, with random weights and quick to make."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from folioscope import hub
from folioscope.config import OcrConfig, SamConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.model.sam import Sam
from folioscope.storage import INDEX
from folioscope.weights import HF_NAMES, to_published
from folioscope.weights.fitting import hollow

READER_CONFIG = {"use_mla": False, "topk_method": "greedy"}
SHARDS = 32
BLOCK = (1 << 20) + 7
"""Random numbers that all weights are made of; no width divides it, so that no two rows of a matrix are alike."""


def write_reader(folder: Path, dtype: torch.dtype) -> None:
    """DeepSeek-OCR as published, 6.7 GB in bfloat16, with the embedded reader's tokenizer.

    Routing is even without further ado: tokens differ and so do the routers' rows.
    """
    model = hollow(lambda: DeepseekOcr(OcrConfig()))
    write_weights(folder, model.state_dict(), to_published, dtype, SHARDS)
    copy_tokenizer(folder)
    _finish(folder, READER_CONFIG)


def copy_tokenizer(folder: Path) -> None:
    """The embedded reader's tokenizer, which any vocabulary holds."""
    for file in hub.EMBEDDED.glob("*token*.json"):
        shutil.copy(file, folder)


def write_segmenter(folder: Path, dtype: torch.dtype) -> None:
    """SAM ViT-B as published, in transformers' layout."""
    model = hollow(lambda: Sam(SamConfig()))
    write_weights(folder, model.state_dict(), HF_NAMES.published, dtype, shards=1)
    _finish(folder, SamConfig().to_dict())


def _finish(folder: Path, config: Mapping[str, object]) -> None:
    """The config comes last: a folder that has one is whole."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def write_weights(
    folder: Path, weights: Mapping[str, Tensor], published: Callable[[str], str], dtype: torch.dtype, shards: int
) -> None:
    """Random tensors of these shapes, by their published names, a shard at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    block = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)).to(dtype)
    names, homes = list(weights), {}
    size = -(-len(names) // shards)
    for shard in range(shards):
        chosen = names[shard * size : (shard + 1) * size]
        tensors = {published(name): filled(name, weights[name], block) for name in chosen}
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        homes |= dict.fromkeys(tensors, file)
    if shards > 1:
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": homes}), encoding="utf-8")


def filled(name: str, weight: Tensor, block: Tensor) -> Tensor:
    """Norms near 1, biases near 0, matrices that keep the size of what goes through."""
    scaled = block * (0.02 if weight.ndim == 1 else weight[0].numel() ** -0.5)
    values = scaled.repeat(-(-weight.numel() // len(block)))[: weight.numel()].view(weight.shape)
    return values + 1 if weight.ndim == 1 and "norm" in name and name.endswith("weight") else values.contiguous()
