"""What the model is called with, checked, and taken apart into pages and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from folioscope.generate import Prompt
from folioscope.model.ocr import DeepseekOcr
from folioscope.types import InputError

PageViews = tuple[Tensor, Tensor | None, tuple[int, int]]
"""One page as `DeepseekOcr.image_features` takes it: global view, tiles or None, columns and rows of tiles."""

NO_PIXELS = torch.empty(0, 3, 0, 0)


@dataclass(frozen=True)
class OcrInputs:
    """The keywords of a call for B pages, or for B texts without an image.

    Attributes:
        input_ids: (B, T) int64, padded on the right.
        images_seq_mask: (B, T) bool, True on image slots; None for text alone.
        images_spatial_crop: (B, 2) int64, columns and rows of tiles, 1, 1 without; None if no page has tiles.
        pixel_values: (B, 3, S, S) global views, normalised to -1..1; None for text alone.
        pixel_values_local: (tiles, 3, 640, 640), the tiles of all pages in order; None if there are none.
        attention_mask: (B, T), 0 on the padding; None if there is none.
        images: In place of both pixel values, as the published model takes them: for each page its tiles
            (n, 3, 640, 640), ignored for a crop of 1, 1, and its global view (1, 3, S, S).
    """

    input_ids: Tensor | None = None
    images_seq_mask: Tensor | None = None
    images_spatial_crop: Tensor | None = None
    pixel_values: Tensor | None = None
    pixel_values_local: Tensor | None = None
    attention_mask: Tensor | None = None
    images: Sequence[tuple[Tensor, Tensor]] | None = None

    def pages(self) -> list[PageViews]:
        """The pages, in order. Raises InputError if views, tiles and grids do not belong together."""
        views, tiles, grids = self._views(), self._tiles(), self._grids()
        counts = [_tile_count(grid) for grid in grids]
        if views.ndim != 4 or tiles.ndim != 4:
            raise InputError(f"pixels of shapes {tuple(views.shape)} and {tuple(tiles.shape)}: must be (n, 3, S, S)")
        if len(views) != len(grids) or sum(counts) != len(tiles):
            found = f"{len(views)} global views, {len(tiles)} tiles, images_spatial_crop {grids}"
            raise InputError(f"{found}: needs one crop a view, and columns x rows tiles for each crop but (1, 1)")
        split = tiles.split(counts)
        return [(view, part if len(part) else None, grid) for view, part, grid in zip(views, split, grids, strict=True)]

    def _views(self) -> Tensor:
        if self.images is not None:
            return torch.cat([view for _, view in self.images])
        return NO_PIXELS if self.pixel_values is None else self.pixel_values

    def _tiles(self) -> Tensor:
        if self.images is not None:
            found = [tiles for (tiles, _), grid in zip(self.images, self._grids(), strict=False) if _tile_count(grid)]
            return torch.cat(found) if found else NO_PIXELS
        return NO_PIXELS if self.pixel_values_local is None else self.pixel_values_local

    def _grids(self) -> list[tuple[int, int]]:
        if self.images_spatial_crop is None:
            return [(1, 1)] * len(self._views())
        return [(int(columns), int(rows)) for columns, rows in self.images_spatial_crop]

    def ids_and_mask(self) -> tuple[Tensor, Tensor]:
        """`input_ids` and the image mask, both (B, T). Raises InputError for other shapes."""
        ids = self.input_ids
        if ids is None or ids.ndim != 2 or not ids.numel():
            found = "missing" if ids is None else f"of shape {tuple(ids.shape)}"
            raise InputError(f"input_ids {found}: must be (batch, tokens), at least one of each")
        mask = torch.zeros_like(ids, dtype=torch.bool) if self.images_seq_mask is None else self.images_seq_mask
        if mask.shape != ids.shape:
            raise InputError(f"images_seq_mask {tuple(mask.shape)}: must be of input_ids' shape {tuple(ids.shape)}")
        return ids, mask.bool()

    def prompts(self, model: DeepseekOcr) -> list[Prompt]:
        """Each row without its padding, with its page's image tokens. Raises InputError if they do not fit."""
        ids, mask = self.ids_and_mask()
        features = [model.image_features(*page) for page in self.pages()] or [None] * len(ids)
        if len(features) != len(ids):
            raise InputError(f"{len(ids)} rows of input_ids and {len(features)} pages: needs one page a row")
        rows = zip(ids.tolist(), mask.tolist(), self._lengths(ids), features, strict=True)
        return [Prompt(tuple(row[:n]), tuple(slots[:n]), tokens) for row, slots, n, tokens in rows]

    def _lengths(self, ids: Tensor) -> list[int]:
        if self.attention_mask is None:
            return [ids.shape[1]] * len(ids)
        kept = self.attention_mask.bool()
        if kept.shape != ids.shape or (kept[:, 1:] & ~kept[:, :-1]).any():
            raise InputError("attention_mask: must be of input_ids' shape, with padding on the right only")
        return kept.sum(dim=1).tolist()


def _tile_count(grid: tuple[int, int]) -> int:
    return 0 if grid == (1, 1) else grid[0] * grid[1]
