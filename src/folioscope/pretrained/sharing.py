"""What users of the Hugging Face hub expect of every model: how it is loaded, saved, uploaded, and what it returns."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from folioscope import hub
from folioscope.placement import AUTO, mapped_device
from folioscope.storage import SHARD_BYTES
from folioscope.types import InputError

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Loading:
    """How `from_pretrained` loads a checkpoint: its keywords.

    Attributes:
        dtype: Of the weights: float32, bfloat16 or float16; None and "auto" keep what is stored. Of a reader also
            "int8" or "int4", for the CPU and the decoder's matrices only.
        torch_dtype: The older name of `dtype`.
        device: Where the weights go; None is the CPU, "auto" what is fastest here.
        device_map: The same, as transformers calls it; a map must put everything in one place.
        revision, token, cache_dir, local_files_only: See `folioscope.hub.resolve`.
        trust_remote_code, use_safetensors, attn_implementation, _attn_implementation, low_cpu_mem_usage: Taken because
            published examples pass them, and of no effect: no remote code is ever run.
    """

    dtype: torch.dtype | str | None = None
    torch_dtype: torch.dtype | str | None = None
    device: torch.device | str | int | None = None
    device_map: Mapping[str, Any] | torch.device | str | int | None = None
    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False
    use_safetensors: bool | None = None
    attn_implementation: str | None = None
    _attn_implementation: str | None = None
    low_cpu_mem_usage: bool | None = None

    @property
    def asked(self) -> str:
        """The name of the dtype, or "auto"."""
        return str(self.dtype or self.torch_dtype or AUTO).removeprefix("torch.")

    @property
    def place(self) -> torch.device:
        """Raises InputError for a device that is not here."""
        return mapped_device(self.device if self.device is not None else self.device_map)

    @property
    def where(self) -> dict[str, Any]:
        """Arguments of `folioscope.hub.resolve`."""
        return {name: getattr(self, name) for name in ("revision", "token", "cache_dir", "local_files_only")}


class ModelOutput(Mapping[str, Any]):
    """Named tensors, for a dataclass to inherit: `outputs.x`, `outputs["x"]`, `outputs[0]`; None counts as not there.

    Source: `ModelOutput` of transformers.
    """

    def _given(self) -> dict[str, Any]:
        named = ((field.name, getattr(self, field.name)) for field in fields(self))  # pyright: ignore[reportArgumentType]
        return {name: value for name, value in named if value is not None}

    def __getitem__(self, key: str | int | slice) -> Any:
        return self._given()[key] if isinstance(key, str) else self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given())

    def __len__(self) -> int:
        return len(self._given())

    def to_tuple(self) -> tuple[Any, ...]:
        """What there is, in order."""
        return tuple(self._given().values())


class Shared:
    """Saving and uploading; a model says how it is written into a folder."""

    @abstractmethod
    def write(self, folder: Path, max_shard_size: int) -> None:
        """Write weights and `config.json`; a file holds at most so many bytes of tensors unless one alone has more."""

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        max_shard_size: int | str = SHARD_BYTES,
        push_to_hub: bool = False,
        **hub_options: Any,
    ) -> None:
        """Write weights and `config.json` in the published layout.

        Every file appears whole under its name or not at all; weights that were in the folder before are replaced.

        Args:
            save_directory: Made if it is not there.
            max_shard_size: Bytes, or a text such as "5GB", that a weight file may hold, unless one tensor has more.
            push_to_hub: Also upload them; `hub_options` are those of `push_to_hub`, and `repo_id`, by default the
                folder's name.

        Raises:
            InputError: No such size.
            OutputError: The folder cannot be written.
            CheckpointError: The upload failed.
        """
        self.write(Path(save_directory), byte_count(max_shard_size))
        if push_to_hub:
            self.push_to_hub(**{"repo_id": Path(save_directory).resolve().name, **hub_options})

    def push_to_hub(
        self, repo_id: str, *, token: str | bool | None = None, private: bool = False, **commit: str
    ) -> str:
        """Upload what `save_pretrained` writes; see `folioscope.hub.push_to_hub`."""
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return hub.push_to_hub(folder, repo_id, token=token, private=private, **commit)


def byte_count(size: int | str) -> int:
    """Bytes of a number, or of a text such as "200KB", "5GB" or "2GiB". Raises InputError for another."""
    match = re.fullmatch(r"(\d+) ?(|[KMG]I?B)", str(size).upper())
    if match is None or not int(match[1]):
        raise InputError(f'max_shard_size={size!r}: give bytes, or a text such as "200MB" or "5GB"')
    return int(match[1]) * UNITS[match[2]]
