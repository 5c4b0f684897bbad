"""Weights of fewer bits, chosen when a checkpoint is loaded, and the quick paths of the CPU.

What is quantised is a table; everything else (router, norms, embeddings, position tables) keeps its floats.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from folioscope import native
from folioscope.model.ocr import DeepseekOcr
from folioscope.native.layout import Kind
from folioscope.native.memory import Arena
from folioscope.placement import choose_dtype
from folioscope.quantize.linear import Banked, PackedLinear
from folioscope.quantize.modules import TAKES_PLACE_OF
from folioscope.storage import read_json
from folioscope.types import CheckpointError, InputError
from folioscope.vision import quicken
from folioscope.weights import load_ocr, merge_adapter, save_ocr

QUANTISED: tuple[Kind, ...] = ("int8", "int4")
"""Names of dtypes that are not torch's: integer weights, float activations."""

TABLE: tuple[tuple[str, Kind | None], ...] = (
    (r"decoder\.head", None),
    (r"decoder\.blocks\.\d+\.(self_attn|mlp)\..*_proj", None),
)
"""Full names of the linear layers that are quantised, as patterns, and the kind each has whatever is asked for; None is
the kind asked for."""

NOTE = "quantization_config"
METHOD = "folioscope"
"""What `config.json` says of a quantised checkpoint, under the key that transformers uses."""


def load_reader(
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    kind: Kind | None = None,
    adapter: str | Path | None = None,
) -> tuple[DeepseekOcr, dict[str, Tensor]]:
    """Load DeepSeek-OCR as `load_ocr` does, in floats or quantised, ready for the CPU's quick paths.

    A published checkpoint is quantised as it is read, tensor by tensor; one that `quantise` wrote is mapped, but for
    what every token reads.

    Args:
        dtype: Of what is floating-point, as `load_ocr` takes it; None keeps what is stored.
        kind: "int8" or "int4"; None is what the checkpoint is, which if published is no such thing.
        adapter: Folder of a LoRA adapter to merge into the weights before they are quantised, see `merge_adapter`.

    Raises:
        InputError: Quantised weights on a device that is not a CPU.
        CheckpointError: As `load_ocr` and `merge_adapter`; or the checkpoint is quantised and something else was asked
            for.
    """
    place, stored = torch.device(device), stored_kind(folder)
    if stored and kind not in (None, stored):
        raise CheckpointError(f"{folder}: its weights are {stored}; load it as that, or load the original checkpoint")
    kind = kind or stored
    if kind and place.type != "cpu":
        raise InputError(f"dtype {kind} on {place}: quantised weights are for the CPU; use bfloat16 or float16 there")
    if stored and adapter:
        raise CheckpointError(f"{folder}: its weights are {stored}; an adapter goes into the original checkpoint")
    if stored:
        model, carried = load_ocr(folder, make=lambda config: quantised(DeepseekOcr(config), stored))
        _move(model)
    else:
        model, carried = load_ocr(folder, device=place, dtype=None if kind else dtype)
        if adapter:
            merge_adapter(model, adapter)
        if kind:
            quantised(model, kind)
    if kind and dtype:
        for parameter in model.parameters():  # integers and their scales are none
            parameter.data = parameter.data.to(dtype)
    return (prepare(model) if place.type == "cpu" else model), carried


def choose_precision(name: str) -> tuple[Kind | None, torch.dtype | None]:
    """The kind of integers and the dtype of floats that a name asks for, None where it leaves that open.

    Raises InputError for what is no dtype.
    """
    if name in QUANTISED:
        return name, None
    return None, choose_dtype(name, also=QUANTISED)


def stored_kind(folder: str | Path) -> Kind | None:
    """What a checkpoint's weights were quantised to. Raises CheckpointError if that was not done here."""
    note = read_json(Path(folder) / "config.json").get(NOTE)
    if note is None:
        return None
    kind = note.get("dtype") if isinstance(note, dict) and note.get("quant_method") == METHOD else None
    if kind not in QUANTISED:
        raise CheckpointError(f"{folder}: quantised in a way that is not Folioscope's; give the original checkpoint")
    return kind


def quantised(model: DeepseekOcr, kind: Kind) -> DeepseekOcr:
    """The model itself, with the linear layers of the table quantised one by one."""
    arena = Arena()
    for parent, name, linear, special in _linears(model):
        setattr(parent, name, PackedLinear.of(linear, special or kind, arena))
    note = {"quant_method": METHOD, "dtype": kind}
    model.config = dataclasses.replace(model.config, published={**model.config.published, NOTE: note})
    return model


def _move(model: DeepseekOcr) -> None:
    """Copy what every token reads from the mapped file to memory of large pages, from which it is read faster.

    An expert is read by one token in eleven: the experts, seven eighths of all weights, stay where they are.
    """
    arena = Arena()
    for name, module in model.decoder.named_modules():
        if isinstance(module, PackedLinear) and ".experts." not in name:
            module.move(arena)


def _linears(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear, Kind | None]]:
    """Of each linear layer in the table: its parent, its name there, itself, and the kind it always has.

    None is held on to, so that the mapped weights of those replaced go back to the system while others are quantised.
    """
    for full in [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]:
        path, _, name = full.rpartition(".")
        rows: list[Kind | None] = [special for pattern, special in TABLE if re.fullmatch(pattern, full)]
        if rows:
            parent = model.get_submodule(path)
            yield parent, name, getattr(parent, name), rows[0]


def prepare(model: DeepseekOcr) -> DeepseekOcr:
    """The model itself, with its modules in the form that runs quickest on this CPU.

    Does nothing to a float decoder where the kernels are missing or its weights are not bfloat16.
    """
    quicken(model.encoder, "int8" if NOTE in model.config.published else None)
    quick = native.available() and model.dtype == torch.bfloat16
    if NOTE not in model.config.published and not quick:
        return model
    for module in model.decoder.modules():
        module.__class__ = TAKES_PLACE_OF.get(type(module), type(module))
    for module in model.decoder.modules():  # larger ones first: they lay out several layers side by side
        if isinstance(module, (PackedLinear, Banked)):
            module.settle()
    return model


def quantise(source: str | Path, target: str | Path, kind: Kind) -> None:
    """Write a quantised copy of a checkpoint, which loads as any other. Raises CheckpointError and OutputError."""
    if stored := stored_kind(source):
        raise CheckpointError(f"{source}: its weights are {stored} already; give the original checkpoint")
    model, carried = load_ocr(source)
    save_ocr(quantised(model, kind), carried, target)
