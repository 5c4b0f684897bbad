"""Published checkpoints and our modules: names as data, strict both ways, no second copy of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from folioscope.config import OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.storage import SHARD_BYTES, read_json, stored_tensors, weight_files, write_checkpoint
from folioscope.types import CheckpointError

UNUSED = "unused."
"""Our prefix for what a checkpoint stores and no module uses: carried along and written back as read."""

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
"""A counting buffer, 0..256, that some re-saved checkpoints hold; not a weight, and not written back."""

DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16, torch.float64})

SMALL_BYTES = 100_000_000
"""Checkpoints below this are scanned whole for NaN and infinity; of larger ones only vectors (norms, biases) are."""


def to_ours(key: str) -> str | None:
    """Our name of a published tensor, or None if DeepSeek-OCR has no such tensor."""
    return _renamed(key, OCR_NAMES)


def to_published(name: str) -> str:
    """The published name of one of our tensors. Raises KeyError for a name that is not ours."""
    key = _renamed(name, ((ours, published) for published, ours in OCR_NAMES))
    if key is None:
        raise KeyError(name)
    return key


def _renamed(key: str, rules: Iterable[tuple[str, str]]) -> str | None:
    return next((new + key[len(old) :] for old, new in rules if key.startswith(old)), None)


def load_ocr(
    folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> tuple[DeepseekOcr, dict[str, Tensor]]:
    """Load DeepSeek-OCR from a folder in the published layout.

    On the CPU in the stored dtype the weights stay in the mapped file and are read when first used. Otherwise each
    tensor is converted on its own, so that there is never a second copy of the weights.

    Args:
        folder: Holds `config.json` and `model.safetensors` or `pytorch_model.bin`, whole or in shards.
        device: Where the weights go.
        dtype: Floating-point dtype of all weights; None keeps what is stored.

    Returns:
        The model in evaluation mode, and the tensors it has no use for (by our names), for `save_ocr`.

    Raises:
        CheckpointError: A file is missing, damaged or would run code; or tensors are missing, unexpected, of another
            shape, or not finite. Large checkpoints (100 MB and more) have only their vectors scanned for NaN.
    """
    folder = Path(folder)
    config = OcrConfig.from_dict(read_json(folder / "config.json"))
    with torch.device("meta"), _Uninitialised():
        model = DeepseekOcr(config)
    tensors = _fitting(folder, model.state_dict(), torch.device(device), dtype)
    carried = {name: tensors.pop(name) for name in list(tensors) if name.startswith(UNUSED)}
    model.load_state_dict(tensors, assign=True)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    return model.eval(), carried


class _Uninitialised(TorchFunctionMode):
    """Modules made under it keep their weights as allocated: drawing numbers for weights that a checkpoint then brings
    costs a second for the published model, and on the meta device imports torch's compiler, three more."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _fitting(
    folder: Path, wanted: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """The stored tensors by our names, on `device` in `dtype`; unused ones copied as they are."""
    files = weight_files(folder)
    scan_all = sum(file.stat().st_size for file in files) < SMALL_BYTES
    tensors: dict[str, Tensor] = {}
    unexpected, unfit, broken, seen = [], [], [], set()
    for key, stored in (item for file in files for item in stored_tensors(file) if item[0] not in IGNORED):
        name = to_ours(key)
        if key in seen or name is None or not (name in wanted or name.startswith(UNUSED)):
            unexpected.append(key)
            continue
        seen.add(key)
        if misfit := name in wanted and _misfit(stored, wanted[name]):
            unfit.append(f"{key} {misfit}")
            continue
        tensors[name] = stored.to(device, dtype) if name in wanted else stored.clone()
        if (scan_all or stored.ndim <= 1) and not tensors[name].isfinite().all():
            broken.append(key)
    missing = [key for key in map(to_published, wanted) if key not in seen]
    _refuse(folder, {"missing": missing, "unexpected": unexpected, "unfit": unfit, "with NaN or infinity": broken})
    return tensors


def _misfit(stored: Tensor, wanted: Tensor) -> str | None:
    if stored.dtype not in DTYPES:
        return f"in {stored.dtype}".replace("torch.", "")
    return None if stored.shape == wanted.shape else f"{tuple(stored.shape)} instead of {tuple(wanted.shape)}"


def _refuse(folder: Path, problems: Mapping[str, list[str]], shown: int = 4) -> None:
    """Raise one CheckpointError that counts every problem and names the first few of each kind."""
    lists = [
        f"{len(keys)} {kind} ({', '.join(sorted(keys)[:shown])}{', …' if len(keys) > shown else ''})"
        for kind, keys in problems.items()
        if keys
    ]
    if lists:
        raise CheckpointError(
            f"{folder}: these weights are not config.json's DeepSeek-OCR: tensors {'; '.join(lists)}; "
            "use config and weights of one undamaged checkpoint"
        )


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
