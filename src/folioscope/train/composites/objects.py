"""The objects of training: colour emoji, clip art, letters and made-up shapes, split by a hash of their names."""

from __future__ import annotations

import re
import unicodedata
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from folioscope.train import fonts
from folioscope.train.composites.shapes import letter, shape
from folioscope.train.fonts import Split

SIDE = 160
"""Pixels that objects are kept in at most; they are scaled down from it, seldom up."""

_EMOJI_FONT = "NotoColorEmoji.ttf"
_EMOJI_PX = 109  # the one size that its bitmaps have
_EMOJI_CODES = (range(0x2190, 0x2C00), range(0x1F000, 0x1FB00))
_CLIP_ART = "openclipart/png"
_MOST_BYTES = 400_000
_HELD_OUT_ONE_IN = 8
_SHARES = {"emoji": 0.27, "clip art": 0.33, "shape": 0.33, "letter": 0.07}
_SOLID = 0.45
"""Of an object's area must be left when three pixels are taken off its rim: no wire, no lettering."""


@dataclass(frozen=True)
class Shelf:
    """The objects of a split by kind: names of emoji (characters) and of clip art (paths); shapes need no names."""

    split: Split
    emoji: tuple[str, ...]
    clip_art: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        """What is not installed, in the words of Debian."""
        packages = {"fonts-noto-color-emoji": self.emoji, "openclipart-png": self.clip_art}
        return [package for package, names in packages.items() if not names]

    def draw(self, rng: np.random.Generator) -> Image.Image:
        """Take an object: RGBA, cut to its alpha, at most SIDE pixels."""
        kinds = list(_SHARES)
        while True:
            kind = kinds[rng.choice(len(kinds), p=np.array(list(_SHARES.values())))]
            taken = self._draw(kind, rng)
            if taken is not None:
                return taken

    def _draw(self, kind: str, rng: np.random.Generator) -> Image.Image | None:
        if kind == "emoji":
            return _emoji(self.emoji[rng.integers(len(self.emoji))]) if self.emoji else None
        if kind == "clip art":
            return _clip_art(self.clip_art[rng.integers(len(self.clip_art))]) if self.clip_art else None
        make = shape if kind == "shape" else letter
        return _usable(make(rng, SIDE, self.split))


@lru_cache(maxsize=2)
def shelf(split: Split) -> Shelf:
    """All objects of this machine that belong to a split. One name in eight, by its hash, is held out."""
    held_out = split == "held_out"
    emoji = tuple(name for name in _emoji_names() if _is_held_out(unicodedata.name(name, name)) == held_out)
    clip_art = tuple(path for path in _clip_art_paths() if _is_held_out(_kind(path)) == held_out)
    return Shelf(split, emoji, clip_art)


def _is_held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % _HELD_OUT_ONE_IN == 0


def _kind(path: str) -> str:
    """The first word of a file's name: variants of a drawing must not stand on both sides of the split."""
    return re.split(r"[^a-z]+", Path(path).stem.lower().lstrip("_0123456789-"))[0]


@lru_cache(maxsize=1)
def _emoji_font() -> ImageFont.FreeTypeFont | None:
    paths = sorted(path for folder in fonts.font_folders() for path in folder.rglob(_EMOJI_FONT))
    return ImageFont.truetype(str(paths[0]), _EMOJI_PX) if paths else None


def _emoji_names() -> list[str]:
    font = _emoji_font()
    if font is None:
        return []
    return [chr(code) for codes in _EMOJI_CODES for code in codes if font.getmask(chr(code), "RGBA").getbbox()]


def _clip_art_paths() -> list[str]:
    folders = [folder / _CLIP_ART for folder in fonts.data_folders()]
    paths = sorted(path for folder in folders if folder.is_dir() for path in folder.rglob("*.png"))
    return [str(path) for path in paths if path.stat().st_size <= _MOST_BYTES]


@lru_cache(maxsize=4096)
def _emoji(name: str) -> Image.Image | None:
    image = Image.new("RGBA", (SIDE, SIDE))
    ImageDraw.Draw(image).text((8, 8), name, font=_emoji_font(), embedded_color=True)
    return _usable(image)


@lru_cache(maxsize=16384)
def _clip_art(path: str) -> Image.Image | None:
    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("ignore")
        if max(image.size) > 2500 or min(image.size) < 32:
            return None
        picture = image.convert("RGBA")
    box = picture.getchannel("A").getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return _usable(picture)


def _usable(image: Image.Image) -> Image.Image | None:
    """The object cut to its alpha; None if it is too small, too thin or mostly see-through."""
    alpha = image.getchannel("A").point([0] * 24 + list(range(24, 256)))
    box = alpha.getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < 24:
        return None
    image.putalpha(alpha)
    image, alpha = image.crop(box), alpha.crop(box)
    inside = np.asarray(alpha) > 127
    framed = Image.fromarray(np.pad(inside, 3).astype(np.uint8) * 255)
    core = np.asarray(framed.filter(ImageFilter.MinFilter(7))) > 0
    area = inside.sum()
    return image if area > 0.12 * inside.size and core.sum() > _SOLID * area else None
