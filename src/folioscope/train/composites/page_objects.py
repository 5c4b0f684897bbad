"""Rendered pages with figures, stamps, signatures and logos on them, and the mask of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from folioscope.train import degrade, fonts
from folioscope.train.composites.backdrops import backdrop
from folioscope.train.composites.compose import Composite, CompositeStyle, mask_at
from folioscope.train.composites.objects import shelf
from folioscope.train.composites.shapes import colour
from folioscope.train.fonts import Split
from folioscope.train.layout import PageStyle
from folioscope.train.pictures import draw_picture
from folioscope.train.render import render_page

_PAGE = PageStyle(side=384, lines=(3, 12), type_px=(14, 34), random_share=0.2, degrade=0, layout=0.5)
"""What stands under the objects; its own pictures would have no mask and are drawn over."""

_WORDS = ("PAID", "COPY", "DRAFT", "APPROVED", "RECEIVED", "ORIGINAL", "FINAL", "VOID", "URGENT", "SAMPLE")
_INKS = ((180, 20, 30), (20, 40, 150), (10, 90, 50), (90, 20, 110), (20, 20, 20))
_TRIES = 8
_DAMAGES = (degrade.uneven_light, degrade.fade, degrade.blur, degrade.noise, degrade.jpeg)

Marked = tuple[Image.Image, Image.Image]
"""What is pasted, RGBA, and what counts as the object, L: all within a stamp's rim, a signature's whole stretch."""


def compose_page(style: CompositeStyle, seed: int) -> Composite:
    """A page of this side, split and seed; the same on every call on the same machine. Its `objects` are 1 to 3."""
    rng = np.random.default_rng(seed)
    while True:
        page = _page(style, int(rng.integers(2**31)))
        masks = np.zeros((0, page.height, page.width), bool)
        for _ in range(rng.integers(1, 4)):
            masks = _lay(page, masks, style, rng)
        if len(masks):
            return Composite(_scanned(page, rng), masks)


def _page(style: CompositeStyle, seed: int) -> Image.Image:
    """A page without pictures, at the side of the style."""
    plain = replace(_PAGE, fonts=style.split, texts=style.split)
    pages = (render_page(plain, seed + number) for number in range(100))
    page = next(page.image for page in pages if "<|ref|>image" not in page.grounded)
    scale = style.side / max(page.size)
    size = (max(1, round(page.width * scale)), max(1, round(page.height * scale)))
    return page.resize(size, Image.Resampling.BILINEAR)


def _lay(page: Image.Image, masks: np.ndarray, style: CompositeStyle, rng: np.random.Generator) -> np.ndarray:
    """Lay one object where no other is; return all masks."""
    make = _KINDS[rng.integers(len(_KINDS))]
    pasted, region = make(rng, style.side, style.split)
    for _ in range(_TRIES):
        room = (page.width - pasted.width, page.height - pasted.height)
        if min(room) <= 2:
            return masks
        place = (int(rng.integers(1, room[0])), int(rng.integers(1, room[1])))
        mask = mask_at(region, place, page.size)
        if not (masks & mask).any() and mask.any():
            page.paste(pasted, place, pasted)
            return np.concatenate([masks, mask[None]])
    return masks


def _figure(rng: np.random.Generator, side: int, split: Split) -> Marked:
    """A photograph, texture, drawing or chart, upright, sometimes framed."""
    size = (int(side * rng.uniform(0.2, 0.7)), int(side * rng.uniform(0.15, 0.5)))
    picture = Image.new("RGB", size)
    if rng.random() < 0.5:
        picture = backdrop(rng, size, split)
    else:
        draw_picture(picture, (0, 0, *size), rng)
    if rng.random() < 0.4:
        ImageDraw.Draw(picture).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=colour(rng))
    return picture.convert("RGBA"), Image.new("L", size, 255)


def _logo(rng: np.random.Generator, side: int, split: Split) -> Marked:
    """An object of the shelf, small, upright."""
    drawn = shelf(split).draw(rng).copy()
    length = side * rng.uniform(0.12, 0.35)
    scale = length / max(drawn.size)
    drawn = drawn.resize([max(6, round(own * scale)) for own in drawn.size], Image.Resampling.BILINEAR)
    return drawn, drawn.getchannel("A")


def _stamp(rng: np.random.Generator, side: int, split: Split) -> Marked:
    """One or two rims, round or square, a word between them, turned, in ink that lets the page through."""
    wide = int(2 * side * rng.uniform(0.18, 0.42))
    is_round = rng.random() < 0.5
    high = wide if is_round and rng.random() < 0.7 else int(wide * rng.uniform(0.35, 0.7))
    ink, region = Image.new("L", (wide, high)), Image.new("L", (wide, high))
    line = max(2, int(wide * rng.uniform(0.02, 0.05)))
    rims = [0] if rng.random() < 0.4 else [0, 2 * line]
    for canvas, filled in ((ink, False), (region, True)):
        draw = ImageDraw.Draw(canvas)
        rim = draw.ellipse if is_round else draw.rectangle
        for inset in rims[: 1 if filled else 2]:
            box = (inset, inset, wide - 1 - inset, high - 1 - inset)
            rim(box, fill=255 if filled else None, outline=255, width=line)
    _write(ink, _WORDS[rng.integers(len(_WORDS))], rng, split)
    angle = float(rng.normal(0, 15))
    ink, region = (_turned(canvas, angle) for canvas in (ink, region))
    return _inked(ink, rng, float(rng.uniform(0.55, 0.95))), region


def _write(canvas: Image.Image, word: str, rng: np.random.Generator, split: Split) -> None:
    groups = fonts.designs(split)
    faces = groups[rng.integers(len(groups))]
    size = max(8, int(canvas.width * 0.95 / len(word)))
    face = fonts.typeface(faces[rng.integers(len(faces))], min(size, int(canvas.height * 0.5) + 1))
    ImageDraw.Draw(canvas).text((canvas.width / 2, canvas.height / 2), word, 255, face.font, anchor="mm")


def _turned(canvas: Image.Image, angle: float) -> Image.Image:
    turned = canvas.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    return turned.resize((max(2, turned.width // 2), max(2, turned.height // 2)), Image.Resampling.BOX)


def _inked(ink: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    drawn = Image.new("RGBA", ink.size, (*_INKS[rng.integers(len(_INKS))], 255))
    drawn.putalpha(ink.point([int(level * strength) for level in range(256)]))
    return drawn


def _signature(rng: np.random.Generator, side: int, split: Split) -> Marked:
    """Loops of a pen from left to right; the object is the strokes and what they enclose or nearly touch."""
    wide, high = int(2 * side * rng.uniform(0.2, 0.45)), int(2 * side * rng.uniform(0.08, 0.16))
    t = np.linspace(0, 1, 400)
    turns = rng.uniform(3, 8)
    swing = np.interp(t, np.linspace(0, 1, 9), rng.uniform(0.25, 1, 9))
    drift = np.interp(t, np.linspace(0, 1, 5), rng.uniform(-0.15, 0.15, 5))
    phase = 2 * math.pi * turns * t
    x = 0.1 + 0.8 * t + 0.6 / turns * swing * np.cos(phase) * rng.uniform(0.1, 0.35)
    y = 0.5 + drift + 0.38 * swing * np.sin(phase)
    points = list(zip((x * wide).tolist(), (y * high).tolist(), strict=True))
    ink = Image.new("L", (wide, high))
    draw, width = ImageDraw.Draw(ink), max(2, round(side / 64 * rng.uniform(0.5, 1.2)))
    draw.line(points, fill=255, width=width, joint="curve")
    if rng.random() < 0.4:
        draw.line((0.1 * wide, 0.93 * high, 0.9 * wide, rng.uniform(0.75, 0.95) * high), fill=255, width=width)
    ink = _turned(ink, float(rng.normal(6, 6)))
    return _inked(ink, rng, 0.95), _closed(ink, 2 * max(2, side // 48) + 1)


def _closed(ink: Image.Image, size: int) -> Image.Image:
    """Strokes with the gaps between them filled: widened, then narrowed again."""
    solid = ink.point([255 if level > 60 else 0 for level in range(256)])
    around = Image.new("L", (ink.width + 2 * size, ink.height + 2 * size))
    around.paste(solid, (size, size))
    closed = around.filter(ImageFilter.MaxFilter(size)).filter(ImageFilter.MinFilter(size))
    return closed.crop((size, size, size + ink.width, size + ink.height))


_KINDS: tuple[Callable[[np.random.Generator, int, Split], Marked], ...] = (_figure, _stamp, _signature, _logo)


def _scanned(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Half of the pages have up to two damages."""
    if rng.random() < 0.5:
        for index in rng.permutation(len(_DAMAGES))[: rng.integers(1, 3)]:
            page = _DAMAGES[index](page, rng, float(rng.uniform(0.5, 1)))
    return page
