"""What objects are laid on: crops of the photographs that ship with scikit-image, and made-up textures."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from folioscope.train.fonts import Split

PHOTOGRAPHS = {
    "train": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "cell.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "moon.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "held_out": ("chelsea.png", "clock_motion.png", "coffee.png"),
}
"""In scikit-image's wheel; CC0, in the public domain, or without known restrictions, as its docstrings say."""

_PHOTOGRAPH = 0.6  # of all backdrops
_LONGEST = 640


def backdrop(rng: np.random.Generator, size: tuple[int, int], split: Split) -> Image.Image:
    """An RGB picture of `size` (width, height): a crop of a photograph, else, or without any, a texture."""
    known = photographs(split)
    if known and rng.random() < _PHOTOGRAPH:
        return _crop(known[rng.integers(len(known))], rng, size)
    return _TEXTURES[rng.integers(len(_TEXTURES))](rng, size)


@lru_cache(maxsize=2)
def photographs(split: Split) -> tuple[Image.Image, ...]:
    """The photographs of a split; none if scikit-image is not installed."""
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else Path()
    paths = [folder / name for name in PHOTOGRAPHS[split]]
    return tuple(_opened(path) for path in paths if path.is_file())


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        picture = image.convert("RGB")
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BOX)
    return picture


def _crop(photograph: Image.Image, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Any part of any scale, turned and mirrored, its colours moved."""
    most = min(photograph.width / size[0], photograph.height / size[1])
    scale = most * rng.uniform(0.35, 1)
    wide, high = size[0] * scale, size[1] * scale
    left, top = rng.uniform(0, photograph.width - wide), rng.uniform(0, photograph.height - high)
    part = photograph.resize(size, Image.Resampling.BILINEAR, (left, top, left + wide, top + high), reducing_gap=2)
    if rng.random() < 0.5:
        part = ImageOps.mirror(part)
    return recoloured(part, rng, 0.25)


def recoloured(image: Image.Image, rng: np.random.Generator, amount: float) -> Image.Image:
    """Each channel of an RGB image with another contrast and brightness, up to `amount`; sometimes channels swap."""
    gains = 1 + rng.uniform(-amount, amount, 3) + rng.uniform(-amount, amount)
    lifts = rng.uniform(-amount, amount, 3) * 80
    levels = np.arange(256)[:, None]
    table = np.clip((levels - 128) * gains + 128 + lifts, 0, 255).astype(np.uint8).T
    changed = image.point(table.ravel().tolist())
    if rng.random() < amount:
        channels = changed.split()
        changed = Image.merge("RGB", [channels[index] for index in rng.permutation(3)])
    return changed


def _smooth(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Clouds of a few sizes, with grain: sky, walls, leaves from afar."""
    total = np.zeros((size[1], size[0], 3), np.float32)
    for octave in range(int(rng.integers(1, 5))):
        cells = int(rng.integers(2, 5)) * 2**octave
        coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        total += np.asarray(layer, np.float32) * np.float32(rng.uniform(0.2, 1) / 2**octave)
    total -= total.min()
    grain = rng.standard_normal((size[1], size[0], 1), dtype=np.float32) * np.float32(rng.uniform(0, 12))
    lowest, highest = np.sort(rng.uniform(0, 255, 2))
    toned = lowest + (highest - lowest + 30) * total / max(1.0, float(total.max()))
    return Image.fromarray(np.clip(toned + grain, 0, 255).astype(np.uint8))


def _even(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """One colour, as paper or a studio's wall, or a gradient between two."""
    first = rng.integers(0, 256, 3)
    second = first if rng.random() < 0.5 else rng.integers(0, 256, 3)
    ends = np.array([[first, second]] if rng.random() < 0.5 else [[first], [second]], dtype=np.uint8)
    return Image.fromarray(ends).resize(size, Image.Resampling.BILINEAR)


def _tiles(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Tiles or boards with joints: floors, fabrics, brickwork."""
    wide, high = (int(rng.integers(6, 60)) for _ in range(2))
    rows = np.arange(size[1])[:, None] // high
    columns = (np.arange(size[0])[None] + rows * wide // 2 * int(rng.integers(2))) // wide
    palette = rng.integers(0, 256, 3) + rng.normal(0, rng.uniform(3, 40), (64, 3))
    picture = palette[(rows * 7 + columns * 13) % 64]
    joints = ((np.arange(size[1])[:, None] % high) < 2) | (np.zeros((1, size[0]), bool))
    picture[np.broadcast_to(joints, picture.shape[:2])] = rng.integers(0, 256, 3)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


_TEXTURES: tuple[Callable[[np.random.Generator, tuple[int, int]], Image.Image], ...] = (_smooth, _smooth, _even, _tiles)
