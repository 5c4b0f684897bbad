"""Page → the views and tiles the encoder sees, pixel for pixel as the published `infer` makes them.

Source: `infer` and `dynamic_preprocess` in modeling_deepseekocr.py of deepseek-ai/DeepSeek-OCR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from folioscope.config import Mode, OcrConfig
from folioscope.types import InputError

TILE = 640
"""Side of a tile in pixels; fixed, whatever the mode says."""

MAX_TILES = 9
"""The published `infer` cuts up to 9 tiles; the published vLLM recipe up to 6."""

MIN_TILES = 2

ENLARGED = 1.5
"""How many times its size a page is shown to a checkpoint that has a view for it."""

MEAN = STD = 0.5
PAD_COLOR = (int(MEAN * 255),) * 3


@dataclass(frozen=True)
class Views:
    """What the encoder sees of one page, normalised to -1..1.

    Attributes:
        global_view: float32 (3, S, S), the whole page.
        tiles: float32 (columns x rows, 3, 640, 640) in reading order, or None.
        grid: Columns and rows of tiles; (1, 1) without tiles.
        page_size: Width and height of the page in pixels.
    """

    global_view: Tensor
    tiles: Tensor | None
    grid: tuple[int, int]
    page_size: tuple[int, int]


def reads_tiles(config: OcrConfig) -> bool:
    """Whether a checkpoint was made to see larger pages in tiles beside its one view, as the published one was."""
    return len(config.view_sizes) == 1 and config.view_sizes[0] > TILE


def default_mode(config: OcrConfig, size: tuple[int, int]) -> Mode:
    """The mode a checkpoint reads a page of `size` (width, height) best in: Gundam for the published one.

    One made for several views takes the smallest that shows the page at least `ENLARGED` times its size, or the
    largest it has: small type is told apart by more patches.
    """
    if reads_tiles(config):
        return Mode(config.view_sizes[0], TILE, True, MAX_TILES)
    wanted = ENLARGED * max(size)
    return Mode(next((side for side in config.view_sizes if side >= wanted), config.view_sizes[-1]), TILE, True, 0)


def ocr_views(image: Image.Image, mode: Mode) -> Views:
    """The views of an RGB `image` (any size, from 1 x 1) in `mode`.

    With `crop_mode`, a page above 640 px on a side is cut into tiles beside a padded global view of `base_size`;
    without, there is one view of `image_size`: squashed up to 640, padded above.
    Raises InputError for a mode that cannot be.
    """
    _check(mode)
    if not mode.crop_mode:
        squashed = image.resize((mode.image_size, mode.image_size)) if mode.image_size <= TILE else image
        return Views(_padded(squashed, mode.image_size), None, (1, 1), image.size)
    grid = tile_grid(*image.size, mode.max_tiles) if _is_tiled(image, mode) else (1, 1)
    tiles = _tiles(image, grid) if grid != (1, 1) else None
    return Views(_padded(image, mode.base_size), tiles, grid, image.size)


def _check(mode: Mode) -> None:
    if mode.crop_mode and mode.image_size != TILE:
        raise InputError(f"image_size={mode.image_size}: with crop_mode it must be {TILE}, the side of a tile")
    name = "base_size" if mode.crop_mode else "image_size"
    if getattr(mode, name) <= 0:
        raise InputError(f"{name}={getattr(mode, name)}: must be a positive number of pixels")


def _is_tiled(image: Image.Image, mode: Mode) -> bool:
    return max(image.size) > TILE and mode.max_tiles >= MIN_TILES


def tile_grid(width: int, height: int, max_tiles: int = MAX_TILES) -> tuple[int, int]:
    """Columns and rows (2 to `max_tiles` tiles) whose ratio is nearest to that of `width` x `height` pixels.

    Of grids equally near, the one with more tiles is taken if the page fills more than half its pixels.
    """
    if max_tiles < MIN_TILES:
        raise InputError(f"max_tiles={max_tiles}: must be at least {MIN_TILES}; turn crop_mode off for no tiles")
    best, best_distance = (1, 1), float("inf")
    for columns, rows in _candidates(max_tiles):
        distance = abs(width / height - columns / rows)
        fills = width * height > 0.5 * TILE * TILE * columns * rows
        if distance < best_distance or (distance == best_distance and fills):
            best, best_distance = (columns, rows), distance
    return best


def _candidates(max_tiles: int) -> list[tuple[int, int]]:
    """Every grid of allowed area, smallest first."""
    sides = range(1, max_tiles + 1)
    grids = [(columns, rows) for columns in sides for rows in sides if MIN_TILES <= columns * rows <= max_tiles]
    return sorted(grids, key=lambda grid: grid[0] * grid[1])


def _padded(image: Image.Image, side: int) -> Tensor:
    """The page in its own ratio, centred on a grey square."""
    return _normalised(ImageOps.pad(image, (side, side), color=PAD_COLOR))


def _tiles(image: Image.Image, grid: tuple[int, int]) -> Tensor:
    """The page stretched over the grid, then cut row by row."""
    columns, rows = grid
    pixels = _normalised(image.resize((columns * TILE, rows * TILE)))  # (3, rows*640, columns*640)
    cells = pixels.reshape(3, rows, TILE, columns, TILE).permute(1, 3, 0, 2, 4)  # (rows, columns, 3, 640, 640)
    return cells.reshape(rows * columns, 3, TILE, TILE)


def _normalised(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()  # (3, H, W)
    return pixels.float().div_(255).sub_(MEAN).div_(STD)


SAM_MEAN, SAM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, in 0..1."""


UNMAPPED_BYTES = 256_000_000
"""Memory that masks may take on their way to the photo's size."""


@dataclass(frozen=True)
class Placement:
    """Where a photo lies in its frame; every size is height and width in pixels.

    Attributes:
        original: Of the photo.
        reshaped: Of the photo as it lies in the frame's left top corner.
        padded: Of the frame.
    """

    original: tuple[int, int]
    reshaped: tuple[int, int]
    padded: tuple[int, int]


@dataclass(frozen=True)
class SamFrame:
    """Where an image lies in the square that SAM sees: scaled, at its left top.

    Attributes:
        size: Width and height of the image in pixels.
        side: Of the square.
    """

    size: tuple[int, int]
    side: int

    @property
    def scaled(self) -> tuple[int, int]:
        """Width and height in the square: the longer side fills it."""
        width, height = (max(1, int(length * (self.side / max(self.size)) + 0.5)) for length in self.size)
        return width, height

    @property
    def ratios(self) -> tuple[float, float]:
        """What x and y in pixels of the image are multiplied by in the square."""
        return self.scaled[0] / self.size[0], self.scaled[1] / self.size[1]

    @property
    def placement(self) -> Placement:
        (width, height), (scaled_width, scaled_height) = self.size, self.scaled
        return Placement((height, width), (scaled_height, scaled_width), (self.side, self.side))


@dataclass(frozen=True)
class SamView:
    """What SAM's encoder sees of an image: float32 (3, S, S), normalised, and where the image is in it."""

    pixels: Tensor
    frame: SamFrame


def sam_view(image: Image.Image, side: int = 1024) -> SamView:
    """Scale an RGB `image` to the square of `side` pixels, as Meta's `ResizeLongestSide` and `Sam.preprocess` do.

    What is right of it and below is 0: the mean colour.
    """
    frame = SamFrame(image.size, side)
    scaled = image.resize(frame.scaled, Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(scaled)).permute(2, 0, 1).float()  # (3, h, w)
    mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (SAM_MEAN, SAM_STD))
    return SamView(F.pad((pixels - mean) / std, (0, side - frame.scaled[0], 0, side - frame.scaled[1])), frame)


def unmap_masks(logits: Tensor, place: Placement) -> Iterator[Tensor]:
    """Mask logits (N, M, s, s) of the whole frame → float32 (n, M, H, W) of the photo, until all N objects are done.

    As many objects at once as take UNMAPPED_BYTES on the way, 8 bytes a pixel of the photo or the frame; or one if that
    takes more. Source: `Sam.postprocess_masks` of Segment Anything (facebookresearch/segment-anything@dca509f).
    """
    pixels = logits.shape[1] * max(height * width for height, width in (place.original, place.padded))
    for some in logits.split(max(1, UNMAPPED_BYTES // (8 * pixels))):
        frame = F.interpolate(some.float(), place.padded, mode="bilinear")  # (n, M, S, S)
        photo = frame[..., : place.reshaped[0], : place.reshaped[1]]
        yield F.interpolate(photo, place.original, mode="bilinear")  # (n, M, H, W)
