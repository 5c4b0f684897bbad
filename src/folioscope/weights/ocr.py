"""DeepSeek-OCR in the published layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from folioscope.config import OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.storage import SHARD_BYTES, read_json, weight_files, write_checkpoint
from folioscope.types import CheckpointError
from folioscope.weights.fitting import UNUSED, Names, filled, fitting, hollow

OCR_NAMES = (
    ("model.sam_model.net_2.", "encoder.compressor.0."),
    ("model.sam_model.net_3.", "encoder.compressor.1."),
    ("model.sam_model.", "encoder.vit."),
    ("model.vision_model.embeddings.patch_embedding.", f"{UNUSED}clip_patch_embed."),
    ("model.vision_model.embeddings.class_embedding", "encoder.clip.class_embed"),
    ("model.vision_model.embeddings.position_embedding.weight", "encoder.clip.pos_embed"),
    ("model.vision_model.pre_layrnorm.", "encoder.clip.pre_norm."),
    ("model.vision_model.transformer.layers.", "encoder.clip.blocks."),
    ("model.projector.layers.", "encoder.projector."),
    ("model.image_newline", "encoder.newline"),
    ("model.view_seperator", "encoder.separator"),
    ("model.embed_tokens.", "decoder.embed."),
    ("model.layers.", "decoder.blocks."),
    ("model.norm.", "decoder.norm."),
    ("lm_head.", "decoder.head."),
)
"""Published prefix and ours, for DeepSeek-OCR; the first match wins, both ways."""

IGNORED = frozenset({"model.vision_model.embeddings.position_ids"})
"""A counting buffer, 0..256, that some re-saved checkpoints hold."""

_NAMES = Names(OCR_NAMES, ignored=IGNORED)

to_ours, to_published = _NAMES.ours, _NAMES.published


def load_ocr(
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    make: Callable[[OcrConfig], DeepseekOcr] = DeepseekOcr,
) -> tuple[DeepseekOcr, dict[str, Tensor]]:
    """Load DeepSeek-OCR from a folder in the published layout.

    On the CPU in the stored dtype the weights stay in the mapped file and are read when first used. Otherwise each
    tensor is converted on its own, so that there is never a second copy of the weights.

    Args:
        folder: Holds `config.json` and `model.safetensors` or `pytorch_model.bin`, whole or in shards.
        device: Where the weights go.
        dtype: Floating-point dtype of all weights; None keeps what is stored.
        make: What builds the network whose weights are stored, if it is not the published one.

    Returns:
        The model in evaluation mode, and the tensors it has no use for (by our names), for `save_ocr`.

    Raises:
        CheckpointError: A file is missing, damaged or would run code; or tensors are missing, unexpected, of another
            shape, or not finite. Large checkpoints (100 MB and more) have only their vectors scanned for NaN.
    """
    folder = Path(folder)
    config = OcrConfig.from_dict(read_json(folder / "config.json"))
    model = hollow(lambda: make(config))
    refusal = f"{folder}: these weights are not config.json's DeepSeek-OCR"
    tensors = fitting(weight_files(folder), _NAMES, model.state_dict(), device, dtype, refusal)
    carried = {name: tensors.pop(name) for name in list(tensors) if name.startswith(UNUSED)}
    return filled(model, tensors), carried


def save_ocr(
    model: DeepseekOcr, carried: Mapping[str, Tensor], folder: str | Path, *, max_shard_size: int = SHARD_BYTES
) -> None:
    """Write a model in the published layout: names, `config.json`, one `model.safetensors` or shards with an index.

    Every file appears whole under its name or not at all; weights that were in the folder before are replaced.

    Args:
        carried: What `load_ocr` returned beside the model, or {}.
        max_shard_size: Bytes of tensors a file may hold, unless one tensor alone is larger.

    Raises:
        CheckpointError: The model's config was not read from published JSON.
        OutputError: The folder cannot be written.
    """
    config = model.config
    if not config.published or OcrConfig.from_dict(config.published) != config:
        raise CheckpointError("the model's config is not its published JSON's; make it with OcrConfig.from_dict")
    tensors = {to_published(name): tensor for name, tensor in {**model.state_dict(), **carried}.items()}
    write_checkpoint(tensors, config.published, Path(folder), max_shard_size)
