"""An image embedded once, to be prompted many times, today or from a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from folioscope.export.files import File, write
from folioscope.storage import stored_notes, stored_tensors
from folioscope.types import InputError
from folioscope.views import SamFrame

SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class Scene:
    """What the model has seen of one image.

    Attributes:
        embedding: (C, h, w).
        frame: The image's size in pixels, and where it lies in the square that was encoded.
    """

    embedding: Tensor
    frame: SamFrame

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write it to a `.safetensors` file, whole or not at all; `force` overwrites one that is there.

        Raises InputError for another suffix, OutputError if it cannot be written.
        """
        path = _checked(path)
        notes = {"frame": json.dumps({"size": self.frame.size, "side": self.frame.side})}
        tensors = {"embedding": self.embedding.detach().cpu().contiguous()}
        content = partial(safetensors.torch.save, tensors, notes)
        return write(path.parent, [File(path.name, content)], force=force)[0]

    @classmethod
    def load(cls, path: str | Path) -> Scene:
        """Read what `save` wrote. Raises CheckpointError for a damaged file, InputError for one that is no scene."""
        path = _checked(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; give one that Scene.save wrote")
        try:
            tensors = {name: torch.clone(tensor) for name, tensor in stored_tensors(path)}
            frame = json.loads(stored_notes(path)["frame"])
            width, height = frame["size"]
            return cls(tensors["embedding"], SamFrame((int(width), int(height)), int(frame["side"])))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: not a saved scene; give one that Scene.save wrote") from error


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: a scene's file ends in {SUFFIX}")
    return path
