"""An image embedded once, to be prompted many times, today or from a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from folioscope.export import stem_of
from folioscope.export.files import File, write
from folioscope.pages import Source, open_page
from folioscope.segment.prompts import rough_logits
from folioscope.storage import stored_notes, stored_tensors
from folioscope.types import CheckpointError, InputError, Page
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

    def mask_prompt(self, mask: Source) -> np.ndarray:
        """A plain mask of this image, from anywhere, as what `predict` takes for its `mask`.

        Args:
            mask: A path, picture or array of the image's size in greys: white or True on the object, greys where it is
                uncertain.

        Returns:
            float32 (4h, 4w) logits: 6.9 on the object, -6.9 beside it, 0 outside the image.

        Raises:
            InputError: It is of another size, or in colour.
        """
        page = open_page(mask)
        pixels = np.asarray(page.image)  # (height, width, 3)
        if page.image.size != self.frame.size:
            sizes = "{} x {} pixels, given {} x {}".format(*self.frame.size, *page.image.size)
            raise InputError(f"mask: {page.source}: expected the image's size, {sizes}")
        if (pixels != pixels[..., :1]).any():
            raise InputError(f"mask: {page.source}: a picture in colour; expected greys, white on the object")
        return rough_logits(page.image.getchannel(0), 4 * self.embedding.shape[-1])

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write it to a `.safetensors` file, whole or not at all; `force` overwrites one that is there.

        Raises InputError for another suffix, OutputError if it cannot be written.
        """
        path = _checked(path)
        return write(path.parent, [File(path.name, self.to_bytes)], force=force)[0]

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        notes = {"frame": json.dumps({"size": self.frame.size, "side": self.frame.side})}
        return safetensors.torch.save({"embedding": self.embedding.detach().cpu().contiguous()}, notes)

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


def kept(folder: str | Path, page: Page, encoder: nn.Module, embed: Callable[[], Scene]) -> Scene:
    """The scene of a page that `folder` keeps, or else the one that `embed` makes, kept from now on.

    The file's name says which pixels it is of and whose weights made it, so that neither another image of the same name
    nor another checkpoint is taken for it. One that is damaged is made anew.
    """
    path = Path(folder, f"{stem_of(page.source)}-{_digest(page.image, encoder)}{SUFFIX}")
    with suppress(InputError, CheckpointError):
        return Scene.load(path)
    scene = embed()
    scene.save(path, force=True)
    return scene


def _digest(image: Image.Image, encoder: nn.Module) -> str:
    """Of the image's pixels, of every weight, name, shape and dtype of the encoder, and of how it multiplies."""
    kind = getattr(encoder, "kind", None)  # integers, of an encoder on the CPU
    digest = hashlib.sha256(f"{image.size}{kind or ''}".encode() + image.tobytes())
    for name, weight in encoder.state_dict().items():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
