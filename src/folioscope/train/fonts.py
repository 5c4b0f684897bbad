"""The type faces of this machine: found, filtered to Latin text faces, split by design, and measured glyph by glyph."""

from __future__ import annotations

import itertools
import operator
import os
import re
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ImageFont, features

Split = Literal["train", "held_out", "listed"]

ASCII = string.digits + string.ascii_letters + string.punctuation
TYPOGRAPHIC = "’‘“”–—•€£éèüöñçáê§°©®½×±…«»"

OLD_FIGURES = ("onum", "-liga", "-clig", "-calt")
"""OpenType features: figures that go up and down like small letters; one glyph a character, as `Typeface` measures."""

_KERNED = ("AV", "To", "Ty", "VA", "P.", "We", "y,", "LT", "11")  # a face that kerns at all kerns one of these
_SAMPLE = "AQagz09@~-"  # a face without one of these is not for English text
_BUILT_IN = "Pillow"
_HELD_OUT = frozenset({"eb", "nimbus", "noto", "urw gothic"})
_LISTED = frozenset(
    {
        "c059", "caladea", "cantarell", "dejavu", "fira", "inconsolata", "lato", "liberation", "linux", "p052",
        "roboto", "urw bookman",
    }
)  # fmt: skip
_NOT_FOR_TEXT = re.compile(
    r"symbol|emoji|math|icon|dingbat|awesome|music|braille|initial|keyboard|opensymbol|webding|wingding|marlett|d050"
    r"|z003|chorus|chancery|hairline|thin|extralight|ultralight|lastresort|biolinum_k|libertine_i\b",
    re.IGNORECASE,
)
_NOTO_LATIN = re.compile(r"Noto(Sans|Serif|Mono|SansMono|SansDisplay|SerifDisplay)(-|\[|$)")
_KIN = (  # the same drawings under other names: a held-out design must not come back through a clone
    ("arimo", "liberation"),
    ("tinos", "liberation"),
    ("cousine", "liberation"),
    ("arial", "liberation"),
    ("times", "liberation"),
    ("courier", "liberation"),
    ("hack", "dejavu"),
    ("bitstream", "dejavu"),
    ("verdana", "dejavu"),
    ("carlito", "lato"),
    ("droid", "noto"),
    ("open sans", "noto"),
    ("free", "nimbus"),
    ("helvetica", "nimbus"),
    ("tex gyre heros", "nimbus"),
    ("tex gyre termes", "nimbus"),
    ("tex gyre cursor", "nimbus"),
    ("tex gyre pagella", "p052"),
    ("tex gyre schola", "c059"),
    ("tex gyre bonum", "urw bookman"),
    ("tex gyre adventor", "urw gothic"),
    ("urw bookman", "urw bookman"),
    ("urw gothic", "urw gothic"),
)


@dataclass(frozen=True)
class Face:
    """One font file.

    Attributes:
        path: The file, or "" for the face built into Pillow.
        design: Name shared by all faces of one family and by the clones of it; the unit of the split.
        name: Family and style, as the file says.
        features: OpenType features it is set with; without them, as plainly as can be.
    """

    path: str
    design: str
    name: str
    features: tuple[str, ...] = ()


def data_folders() -> list[Path]:
    """The shared-data folders of the desktop standard (XDG), most personal first."""
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [Path(home).expanduser(), *(Path(folder) for folder in shared.split(":") if folder)]


def font_folders() -> list[Path]:
    """Where this kind of system keeps its fonts; folders that do not exist are left out."""
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "Microsoft/Windows/Fonts"
        folders = [local, Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    elif sys.platform == "darwin":
        folders = [Path(root).expanduser() / "Library/Fonts" for root in ("~", "/", "/System")]
    else:
        folders = [Path("~/.fonts").expanduser(), *(folder / "fonts" for folder in data_folders())]
    return [folder for folder in folders if folder.is_dir()]


@lru_cache(maxsize=1)
def all_faces() -> tuple[Face, ...]:
    """Every Latin text face found, sorted by name; the face built into Pillow when there is none."""
    found = {face.name: face for folder in font_folders() for face in _faces_in(folder)}
    built_in = Face("", _BUILT_IN, _BUILT_IN)
    return tuple(found[name] for name in sorted(found)) or (built_in,)


@lru_cache(maxsize=3)
def designs(split: Split) -> tuple[tuple[Face, ...], ...]:
    """The faces of a split, grouped by design.

    Four designs, by name, are held out of training, so that what else is installed changes nothing in what is
    measured; `listed` are the training designs of the packages that docs/train.md names, `train` is whatever there is.
    A machine that has none of a split uses all its faces.
    """
    groups: dict[str, list[Face]] = {}
    for face in all_faces():
        if _is_in(face.design, split):
            groups.setdefault(face.design, []).append(face)
    if not groups:
        return (all_faces(),)
    return tuple(tuple(groups[design]) for design in sorted(groups))


@lru_cache(maxsize=1024)
def alphabet(face: Face) -> frozenset[str]:
    """The characters of ASCII and TYPOGRAPHIC, and the space, that the face has a glyph for."""
    return frozenset(" ") | frozenset(_drawable(_open(face, 20), ASCII + TYPOGRAPHIC))


@lru_cache(maxsize=1024)
def typeface(face: Face, size: int) -> Typeface:
    """The face at a size in pixels per em."""
    return Typeface(_open(face, size), face.features)


def with_old_figures(face: Face) -> Face:
    """The face set with old-style figures where it has some; as it is where Pillow has no text shaping (raqm)."""
    return replace(face, features=OLD_FIGURES) if face.path and features.check("raqm") else face


class Typeface:
    """A font at one size that remembers what it measured. Lengths are pixels; y grows downward from the baseline."""

    def __init__(self, font: ImageFont.FreeTypeFont, features: tuple[str, ...] = ()) -> None:
        self.font, self.features = font, list(features) or None
        self.ascent, self.descent = font.getmetrics()
        self._glyphs: dict[str, tuple[float, float, float, float, float]] = {}
        self._kerns: dict[tuple[str, str], float] = {}
        self._has_kerns = any(self._measure_kern(first, second) for first, second in _KERNED)

    def glyph(self, character: str) -> tuple[float, float, float, float, float]:
        """Advance, then the ink box (x1, y1, x2, y2) from the pen on the baseline; a blank is as high as an x."""
        known = self._glyphs.get(character)
        if known is None:
            ink = _ink(self.font, character.replace(" ", "x"), self.features)
            known = self._glyphs[character] = (self._length(character), *ink)
        return known

    def width(self, text: str) -> float:
        """Length of the line `text`, kerning included."""
        advances = sum([self.glyph(character)[0] for character in text])
        return advances + sum(map(self._kern, text, text[1:])) if self._has_kerns else advances

    def pens(self, text: str) -> np.ndarray:
        """Pen position of each glyph, (len(text),) float64, the first at 0; where `draw.text` puts them."""
        advances = [self.glyph(character)[0] for character in text[:-1]]
        if self._has_kerns:
            advances = map(operator.add, advances, map(self._kern, text, text[1:]))
        return np.array([0.0, *itertools.accumulate(advances)])

    def _kern(self, first: str, second: str) -> float:
        known = self._kerns.get((first, second))
        if known is None:
            known = self._kerns[first, second] = self._measure_kern(first, second)
        return known

    def _measure_kern(self, first: str, second: str) -> float:
        # FreeType is slow to measure whole lines again and again; characters and pairs are few.
        return self._length(first + second) - self.glyph(first)[0] - self.glyph(second)[0]

    def _length(self, text: str) -> float:
        return self.font.getlength(text, features=self.features)


def _is_in(design: str, split: Split) -> bool:
    if split == "train":
        return design not in _HELD_OUT
    return design in (_HELD_OUT if split == "held_out" else _LISTED)


def _faces_in(folder: Path) -> Iterator[Face]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".ttf", ".otf", ".ttc") and _promises_text(path.stem):
            face = _read_face(path)
            if face is not None:
                yield face


def _promises_text(stem: str) -> bool:
    if stem.startswith("Noto") and not _NOTO_LATIN.match(stem):
        return False
    return not _NOT_FOR_TEXT.search(stem)


def _read_face(path: Path) -> Face | None:
    try:
        font = ImageFont.truetype(str(path), 40, layout_engine=ImageFont.Layout.BASIC)
        family, style = (part or "" for part in font.getname())
        if len(_drawable(font, _SAMPLE)) < len(_SAMPLE) or not _has_small_letters(font):
            return None
    except OSError:
        return None
    return Face(str(path), _design(family or path.stem), f"{family} {style}")


def _has_small_letters(font: ImageFont.FreeTypeFont) -> bool:
    """Whether d rises above x and p goes below it; in small capitals nobody can tell which letters were meant."""
    x, d, p = (_ink(font, character) for character in "xdp")
    high = -x[1]
    return -d[1] > 1.12 * high and p[3] > 0.1 * high


def _ink(
    font: ImageFont.FreeTypeFont, character: str, features: list[str] | None = None
) -> tuple[float, float, float, float]:
    """The ink box of a glyph, (x1, y1, x2, y2) from the pen on the baseline."""
    # `getbbox` would not do: it stretches its box to the pen and to the advance.
    mask, (left, top) = font.getmask2(character, mode="L", features=features, anchor="ls")
    x1, y1, x2, y2 = mask.getbbox() or (0, 0, 0, 0)
    return left + x1, top + y1, left + x2, top + y2


def _design(family: str) -> str:
    lowered = family.lower()
    kin = (design for prefix, design in _KIN if lowered.startswith(prefix))
    return next(kin, re.split(r"[ \-_]", lowered)[0])


def _drawable(font: ImageFont.FreeTypeFont, characters: str) -> str:
    missing = _mask(font, "\uffff")
    empty = _mask(font, " ")
    return "".join(character for character in characters if _mask(font, character) not in (missing, empty))


def _mask(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character, mode="L")
    return mask.size, bytes(mask)  # pyright: ignore[reportArgumentType]  its stub forgets the buffer


def _open(face: Face, size: int) -> ImageFont.FreeTypeFont:
    if not face.path:
        return ImageFont.load_default(size)  # pyright: ignore[reportReturnType]  a size makes it a FreeType font
    shaping = ImageFont.Layout.RAQM if face.features else ImageFont.Layout.BASIC
    return ImageFont.truetype(face.path, size, layout_engine=shaping)
