"""Views and tiles, against the published tiling, the golden shapes and the published loop written out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from folioscope.config import MODES, Mode
from folioscope.types import InputError
from folioscope.views import TILE, ocr_views, tile_grid

GREY = (127 / 255 - 0.5) / 0.5


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def normalised(image: Image.Image) -> Tensor:
    return (torch.tensor(np.array(image)).permute(2, 0, 1).float() / 255 - 0.5) / 0.5


def test_grids_are_the_published_ones(shared: Callable[..., Path]) -> None:
    with shared("golden", "deepseek_toy", "tiling.csv").open() as file:
        rows = [[int(number) for number in row] for row in list(csv.reader(file))[1:]]
    assert len(rows) >= 100
    wrong = [row for row in rows if (*tile_grid(*row[:2]), *tile_grid(*row[:2], max_tiles=6)) != tuple(row[2:])]
    assert wrong == []


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((1654, 2339), (2, 3)),
        ((1920, 1080), (4, 2)),
        ((1000, 1000), (2, 2)),
        ((800, 600), (3, 2)),
        ((3000, 300), (9, 1)),
        ((641, 640), (2, 2)),
        ((1, 5000), (1, 9)),
    ],
)
def test_grids_of_common_pages(size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert tile_grid(*size) == grid


def test_the_larger_of_equal_grids_needs_a_page_that_fills_it() -> None:
    area = 8 * TILE * TILE // 2  # half of 4 x 2 tiles
    height = int((area / 2) ** 0.5)
    assert tile_grid(2 * height, height) == (2, 1)
    assert tile_grid(2 * height + 2, height + 1) == (4, 2)


@pytest.mark.parametrize("case", ["tiny_small", "gundam_2x1_wide"])
def test_shapes_are_the_golden_ones(shared: Callable[..., Path], case: str) -> None:
    golden = shared("golden", "deepseek_toy")
    call = json.loads((golden / "cases.json").read_text())["cases"][case]
    arrays = np.load(golden / f"{case}.npz")
    image = Image.open(golden / "images" / f"{call['image']}.png").convert("RGB")
    views = ocr_views(image, Mode(call["base_size"], call["image_size"], call["crop_mode"]))
    assert [1, *views.global_view.shape] == arrays["image_ori_shape"].tolist()
    assert [views.grid] == [tuple(row) for row in arrays["images_spatial_crop"].tolist()]
    if views.grid != (1, 1):
        assert views.tiles is not None
        assert list(views.tiles.shape) == arrays["images_crop_shape"].tolist()
    assert views.page_size == image.size


@pytest.mark.parametrize("size", [(1300, 650), (700, 1500), (800, 600)])
def test_tiles_are_the_stretched_page_cut_in_reading_order(size: tuple[int, int]) -> None:
    image = picture(*size)
    views = ocr_views(image, MODES["gundam"])
    columns, rows = views.grid
    stretched = image.resize((columns * TILE, rows * TILE), Image.Resampling.BICUBIC)
    corners = [(column * TILE, row * TILE) for row in range(rows) for column in range(columns)]
    cut = [normalised(stretched.crop((x, y, x + TILE, y + TILE))) for x, y in corners]
    assert views.tiles is not None
    assert views.tiles.dtype == torch.float32
    assert torch.equal(views.tiles, torch.stack(cut))


def test_fewer_tiles_on_request() -> None:
    image = picture(2000, 300)
    grids = [ocr_views(image, replace(MODES["gundam"], max_tiles=most)).grid for most in (9, 6)]
    assert grids == [(7, 1), (6, 1)]


@pytest.mark.parametrize("size", [(640, 640), (200, 100), (1, 1)])
def test_small_pages_have_no_tiles(size: tuple[int, int]) -> None:
    views = ocr_views(picture(*size), MODES["gundam"])
    assert (views.tiles, views.grid) == (None, (1, 1))
    assert views.global_view.shape == (3, 1024, 1024)


@pytest.mark.parametrize(("name", "side"), [("base", 1024), ("large", 1280), ("gundam", 1024)])
def test_wide_pages_are_centred_on_grey(name: str, side: int) -> None:
    view = ocr_views(Image.new("RGB", (200, 100), "white"), MODES[name]).global_view
    band = torch.full((3, side, side), GREY)
    band[:, side // 4 : 3 * side // 4] = 1
    assert torch.allclose(view, band, atol=1e-6)


@pytest.mark.parametrize(("name", "side"), [("tiny", 512), ("small", 640)])
def test_small_views_are_squashed(name: str, side: int) -> None:
    image = picture(300, 77)
    view = ocr_views(image, MODES[name]).global_view
    assert torch.equal(view, normalised(image.resize((side, side), Image.Resampling.BICUBIC)))


def test_base_size_is_silent_without_crop_mode() -> None:
    image = picture(90, 50)
    views = [ocr_views(image, Mode(base, 512, False)).global_view for base in (512, 1024)]
    assert torch.equal(*views)


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
def test_thin_pages_work(name: str, size: tuple[int, int]) -> None:
    views = ocr_views(picture(*size), MODES[name])
    assert views.global_view.isfinite().all()
    assert views.global_view.min() >= -1
    assert views.global_view.max() <= 1
    assert views.page_size == size


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (Mode(1024, 512, True), "image_size=512: with crop_mode it must be 640"),
        (Mode(0, 640, True), "base_size=0: must be a positive"),
        (Mode(1024, -64, False), "image_size=-64: must be a positive"),
    ],
)
def test_impossible_modes_are_refused(mode: Mode, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ocr_views(picture(700, 700), mode)


def test_a_grid_needs_two_tiles() -> None:
    with pytest.raises(InputError, match="max_tiles=1: must be at least 2"):
        tile_grid(700, 700, max_tiles=1)
