"""Tensors in files as the hub lays them out: one file or shards, mapped when read, whole or absent when written."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from folioscope.types import CheckpointError, OutputError

INDEX = "model.safetensors.index.json"
LAYOUTS = (("model.safetensors", INDEX), ("pytorch_model.bin", "pytorch_model.bin.index.json"))
"""The whole file and the index of its shards, best first."""

MAPPED_BYTES = 32_000_000
"""While tensors are copied out of a file, at most about this much of it stays mapped beside the copies."""

SHARD_BYTES = 5_000_000_000


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises CheckpointError when it is missing or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: missing; give a folder with a whole checkpoint") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({_first_line(error)}); download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: must hold a JSON object; download it again")
    return content


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a checkpoint's weights; safetensors are preferred.

    Raises CheckpointError when there are none, or when one of several is missing.
    """
    for whole, index in LAYOUTS:
        if (folder / whole).is_file():
            return [folder / whole]
        names = _indexed(folder / index) if (folder / index).is_file() else _numbered(folder, whole)
        if missing := [name for name in names if not (folder / name).is_file()]:
            count = f"{len(missing)} of {len(names)} weight files missing"
            raise CheckpointError(f"{folder}: {count} (first: {missing[0]}); download the checkpoint again")
        if names:
            return [folder / name for name in names]
    wanted = " or ".join(whole for whole, _ in LAYOUTS)
    raise CheckpointError(f"{folder}: no weights; give a folder with {wanted}, whole or in shards")


def _indexed(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise CheckpointError(f"{index}: its weight_map must name files beside it; download it again")
    return names


def _numbered(folder: Path, whole: str) -> list[str]:
    """Shards without an index, such as the published `model-00001-of-000001.safetensors` alone."""
    stem, suffix = whole.split(".")
    for path in folder.glob(f"{stem}-*-of-*.{suffix}"):
        if match := re.fullmatch(r".*-(\d{5})-of-(\d{5,6})\..*", path.name):
            return [f"{stem}-{number:05d}-of-{match[2]}.{suffix}" for number in range(1, int(match[2]) + 1)]
    return []


def stored_tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Every name and tensor in a file, each a view of the mapped file that is read when first used.

    The file is mapped anew every so often, so that what the caller has copied and dropped goes back to the system.
    Raises CheckpointError when the file is damaged, or would run code when opened.
    """
    keys, read, _ = _open(file)
    mapped = 0
    for key in keys:
        if mapped > MAPPED_BYTES:
            mapped, (_, read, _) = 0, _open(file)
        tensor = read(key)
        mapped += tensor.nbytes
        yield key, tensor


def stored_notes(file: Path) -> Mapping[str, Any]:
    """What a file says beside its tensors: metadata of safetensors, or what `write_pickled` noted."""
    return _open(file)[2]


def _open(file: Path) -> tuple[list[str], Callable[[str], Tensor], Mapping[str, Any]]:
    """The names in a file, what reads one of them, and the notes beside them."""
    try:
        if file.suffix == ".safetensors":
            opened = safe_open(file, framework="pt")
            return list(opened.keys()), opened.get_tensor, opened.metadata() or {}
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
        if not all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in tensors.items()):
            raise ValueError("it holds more than named tensors")
        return list(tensors), tensors.__getitem__, getattr(tensors, "_metadata", {}).get("", {})
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file}: refused: opening it could run code; use a safetensors file instead") from error
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise CheckpointError(f"{file}: damaged ({_first_line(error)}); download it again") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def write_checkpoint(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, max_shard_size: int
) -> None:
    """Write `config.json` and one `model.safetensors`, or shards of at most `max_shard_size` bytes with their index.

    Every file appears whole under its name or not at all; other safetensors weights in the folder are then removed.
    Raises OutputError when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".saving-") as staging:
            _write_shards(tensors, Path(staging), max_shard_size)
            _write_json(Path(staging, "config.json"), config)
            _move(Path(staging), folder)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{folder}: no checkpoint can be written there: {_first_line(error)}") from error


def write_pickled(tensors: Mapping[str, Tensor], notes: Mapping[str, Any], file: Path) -> None:
    """Write one file for `torch.load`, whole or not at all; OutputError when that cannot be.

    `notes` are numbers and words about the model. They go where `state_dict` puts the version of a module: beside the
    tensors, so that `load_state_dict` of any model with these tensors accepts the file.
    """
    content = OrderedDict((key, _alone(tensor.detach().cpu())) for key, tensor in tensors.items())
    content._metadata = OrderedDict({"": dict(notes)})  # pyright: ignore[reportAttributeAccessIssue]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=file.parent, prefix=".saving-") as staging:
            torch.save(content, Path(staging, file.name))
            os.replace(Path(staging, file.name), file)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter
        raise OutputError(f"{file}: no checkpoint can be written there: {_first_line(error)}") from error


def _alone(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own: torch writes all of the memory that a tensor is a view of."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _write_shards(tensors: Mapping[str, Tensor], folder: Path, max_shard_size: int) -> None:
    shards, weight_map = _shards(tensors, max_shard_size), {}
    for number, keys in enumerate(shards, 1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        shard = {key: tensors[key].detach().cpu().contiguous() for key in keys}
        save_file(shard, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(keys, name)
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _shards(tensors: Mapping[str, Tensor], limit: int) -> list[list[str]]:
    """Names in order, cut before a shard would exceed `limit` bytes; a larger tensor is a shard of its own."""
    shards: list[list[str]] = [[]]
    room = limit
    for key, tensor in tensors.items():
        if tensor.nbytes > room and shards[-1]:
            shards.append([])
            room = limit
        shards[-1].append(key)
        room -= tensor.nbytes
    return shards


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _move(staging: Path, folder: Path) -> None:
    written = {path.name for path in staging.iterdir()}
    mode = (staging / "config.json").stat().st_mode
    for name in sorted(written):
        (staging / name).chmod(mode)  # safetensors writes for its owner only
        os.replace(staging / name, folder / name)
    for earlier in (folder / INDEX, folder / "model.safetensors", *folder.glob("model-*-of-*.safetensors")):
        if earlier.name not in written:
            earlier.unlink(missing_ok=True)
