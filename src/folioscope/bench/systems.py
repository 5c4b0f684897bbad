"""What is measured: our networks as a user has them, behind the few calls that the stages need."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from folioscope.masks import MaskPrompt
from folioscope.read import Reader
from folioscope.segment import Scene, Segmenter
from folioscope.views import SamFrame

PHOTO = (1600, 1200)
"""Width and height of the image that masks are made for."""


class ReaderSystem(Protocol):
    """DeepSeek-OCR, whoever computes it. Views are (V, 3, S, S) float32."""

    name: str

    def encode(self, views: Tensor) -> object: ...

    def page(self, view: Tensor, tiles: Tensor | None, grid: tuple[int, int]) -> object: ...

    def prefill(self, ids: Tensor, room: int) -> Any:
        """Read (B, T) ids; return what `step` continues, with room for so many more."""
        ...

    def step(self, state: Any, ids: Tensor) -> object:
        """Append one token (B,) to every row."""
        ...


class SegmenterSystem(Protocol):
    """Segment Anything, whoever computes it. Pixels are (B, 3, S, S) float32; a click is one point an object."""

    name: str

    def embed(self, pixels: Tensor) -> Tensor: ...

    def decode(self, embedding: Tensor, clicks: Tensor) -> object:
        """Low-resolution masks of (N, 2) clicks in one image."""
        ...

    def click(self, embedding: Tensor, clicks: Tensor) -> object:
        """The same, up to masks of the image's own size."""
        ...


class OurReader:
    name = "folioscope"

    def __init__(self, folder: Path | None, dtype: str) -> None:
        self.model = Reader.from_pretrained(folder, device="cpu", dtype=dtype).model

    def encode(self, views: Tensor) -> object:
        return self.model.encoder(views.to(self.model.dtype))

    def page(self, view: Tensor, tiles: Tensor | None, grid: tuple[int, int]) -> object:
        return self.model.image_features(view[0], tiles, grid)

    def prefill(self, ids: Tensor, room: int) -> Any:
        batch, length = ids.shape
        cache = self.model.new_cache(batch, length + room)
        lengths, slots = torch.full((batch,), length), torch.zeros_like(ids, dtype=torch.bool)
        self.model.prefill(ids, lengths, [None] * batch, slots, cache)
        return cache

    def step(self, state: Any, ids: Tensor) -> object:
        return self.model.step(ids, state)


class OurSegmenter:
    name = "folioscope"

    def __init__(self, folder: Path | None, dtype: str) -> None:
        self.segmenter = Segmenter.from_pretrained(folder, device="cpu", dtype=dtype)

    def embed(self, pixels: Tensor) -> Tensor:
        return self.segmenter.model.embed(pixels)

    def decode(self, embedding: Tensor, clicks: Tensor) -> object:
        return self.segmenter.decode(self._scene(embedding), _prompts(clicks))

    def click(self, embedding: Tensor, clicks: Tensor) -> object:
        return self.segmenter.predict_many(self._scene(embedding), _prompts(clicks))

    def _scene(self, embedding: Tensor) -> Scene:
        return Scene(embedding, SamFrame(PHOTO, self.segmenter.model.config.vit.image_size))


def _prompts(clicks: Tensor) -> list[MaskPrompt]:
    return [MaskPrompt(points=[point]) for point in clicks.tolist()]
