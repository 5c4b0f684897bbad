"""LoRA adapters of the decoder, in peft's layout under the published names: what others trained loads here too.

Source: LoRA (arXiv 2106.09685); file names and keys as peft writes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from folioscope.model.ocr import DeepseekOcr
from folioscope.storage import read_json, stored_tensors
from folioscope.types import CheckpointError
from folioscope.weights.ocr import to_ours

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.(?:default\.)?weight")


@torch.no_grad()
def merge_adapter(model: DeepseekOcr, folder: str | Path) -> int:
    """Add an adapter's products to the weights they belong to, W + s B A, in float32, kept in the weights' dtype.

    Args:
        model: Unquantised weights; changed in place.
        folder: Holds `adapter_config.json` and `adapter_model.safetensors` (or `.bin`).

    Returns:
        How many weight matrices were changed.

    Raises:
        CheckpointError: The folder holds no LoRA adapter, or one that does not fit this model.
    """
    folder = Path(folder)
    settings = read_json(folder / ADAPTER_CONFIG)
    _check_kind(folder, settings)
    factors = _factors(folder)
    weights = dict(model.named_parameters())
    fitting = {module: _matched(weights, folder, module, pair) for module, pair in factors.items()}
    for module, (down, up) in factors.items():
        weight = fitting[module]
        scale = _scale(settings, module, len(down))
        grown = weight.float() + scale * (up.float() @ down.float()).to(weight.device)  # (out, in)
        weight.data = grown.to(weight.dtype)
    return len(factors)


def _check_kind(folder: Path, settings: Mapping[str, Any]) -> None:
    kind = str(settings.get("peft_type")).upper()
    unknown = [name for name in ("use_dora", "modules_to_save", "fan_in_fan_out") if settings.get(name)]
    if settings.get("bias", "none") != "none":
        unknown.append("bias")
    if kind != "LORA" or unknown:
        what = f"peft_type {kind}" if kind != "LORA" else ", ".join(unknown)
        raise CheckpointError(f"{folder}: {what} is not supported; only plain LORA adapters of linear layers are")


def _factors(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Published module name → its A (r, in) and B (out, r)."""
    file = next((folder / name for name in ADAPTER_WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(f"{folder}: no adapter; give a folder with {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS[0]}")
    halves: dict[str, dict[str, Tensor]] = {}
    strange = []
    for key, tensor in stored_tensors(file):
        match = _KEY.fullmatch(key)
        if match and tensor.ndim == 2 and tensor.isfinite().all():
            halves.setdefault(match["module"], {})[match["factor"]] = tensor.clone()
        else:
            strange.append(key)
    strange += [module for module, pair in halves.items() if len(pair) != 2]
    if strange or not halves:
        names = ", ".join(sorted(strange)[:4]) or "no tensor"
        raise CheckpointError(f"{file}: {len(strange)} tensors are no pair of LoRA factors ({names}); save it again")
    return {module: (pair["A"], pair["B"]) for module, pair in halves.items()}


def _matched(weights: Mapping[str, Parameter], folder: Path, module: str, factors: tuple[Tensor, Tensor]) -> Parameter:
    """The weight that an adapter's module changes."""
    down, up = factors
    weight = weights.get(to_ours(f"{module}.weight") or "")
    if weight is None:
        raise CheckpointError(f"{folder}: this model has no {module}; use the adapter with the model it was trained on")
    if weight.shape != (len(up), down.shape[1]) or len(down) != up.shape[1]:
        given = f"factors {tuple(up.shape)} and {tuple(down.shape)} for a weight {tuple(weight.shape)}"
        raise CheckpointError(f"{folder}: {module}: {given}; use the adapter with the model it was trained on")
    return weight


def _scale(settings: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / r, or alpha / √r for rank-stabilised adapters; some modules may have an alpha of their own."""
    patterns: Mapping[str, float] = settings.get("alpha_pattern") or {}
    own = (alpha for pattern, alpha in patterns.items() if re.fullmatch(rf"(.*\.)?({pattern})", module))
    alpha = next(own, settings.get("lora_alpha", 8))
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
