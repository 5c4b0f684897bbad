"""What users of the Hugging Face hub expect of every model: what a call returns, and how it is saved and uploaded."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from folioscope import hub
from folioscope.storage import SHARD_BYTES
from folioscope.types import InputError

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


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
