"""Composites: objects laid over a backdrop, one upon the other, with shadows, blur and noise, and their masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from folioscope.train import degrade
from folioscope.train.composites.backdrops import backdrop, recoloured
from folioscope.train.composites.objects import shelf
from folioscope.train.fonts import Split

_TRIES = 6
_LEAST_VISIBLE = 0.45
_LEAST_PIXELS = 0.0025
_DAMAGES = (degrade.uneven_light, degrade.fade, degrade.blur, degrade.resample, degrade.noise, degrade.jpeg)


@dataclass(frozen=True)
class CompositeStyle:
    """What composites look like.

    Attributes:
        side: Longest side of the picture, pixels.
        objects: Fewest and most of them.
        size: Smallest and largest length of an object, in parts of the picture's longest side.
        split: Which half of the objects, photographs and type faces.
    """

    side: int = 256
    objects: tuple[int, int] = (2, 7)
    size: tuple[float, float] = (0.12, 0.75)
    split: Split = "train"


@dataclass(frozen=True)
class Composite:
    """A picture and what is to be cut out of it.

    Attributes:
        image: RGB, width x height.
        masks: (n, height, width) bool, what is visible of each object, n at least 1.
    """

    image: Image.Image
    masks: np.ndarray


def compose(style: CompositeStyle, seed: int) -> Composite:
    """The composite of this style and seed; the same on every call on the same machine."""
    rng = np.random.default_rng(seed)
    size = _size(rng, style.side)
    image = backdrop(rng, size, style.split)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))
    masks = np.zeros((0, size[1], size[0]), bool)
    for _ in range(rng.integers(style.objects[0], style.objects[1] + 1)):
        masks = _lay(image, masks, style, rng)
    while not len(masks):
        masks = _lay(image, masks, style, rng)
    return Composite(_taken(image, rng), masks)


def _size(rng: np.random.Generator, side: int) -> tuple[int, int]:
    """Square, or wider or higher."""
    if rng.random() < 0.5:
        return side, side
    short = int(side * rng.uniform(0.55, 1))
    return (side, short) if rng.random() < 0.6 else (short, side)


def _lay(image: Image.Image, masks: np.ndarray, style: CompositeStyle, rng: np.random.Generator) -> np.ndarray:
    """Lay one more object on `image`, where it leaves enough of the others visible; return all visible masks."""
    cutout = _varied(shelf(style.split).draw(rng), rng, style)
    areas = masks.sum((1, 2))
    for _ in range(_TRIES):
        left, top = _place(rng, image.size, cutout.size)
        mask = mask_at(cutout.getchannel("A"), (left, top), image.size)
        rest = masks & ~mask
        enough = (rest.sum((1, 2)) >= _LEAST_VISIBLE * areas).all()
        if enough and mask.sum() >= _LEAST_PIXELS * mask.size:
            if rng.random() < 0.35:
                _shadow(image, cutout, (left, top), rng)
            image.paste(cutout, (left, top), cutout)
            return np.concatenate([rest, mask[None]])
    return masks


def _varied(cutout: Image.Image, rng: np.random.Generator, style: CompositeStyle) -> Image.Image:
    """Mirrored, turned, scaled, in other colours, shaded, slightly blurred."""
    if rng.random() < 0.5:
        cutout = ImageOps.mirror(cutout)
    if rng.random() < 0.5:
        cutout = cutout.rotate(float(rng.normal(0, 35)), Image.Resampling.BILINEAR, expand=True)
    low, high = np.log(style.size)
    scale = style.side * np.exp(rng.uniform(low, high)) / max(cutout.size)
    wide, high = (max(4, round(length * scale * rng.uniform(0.85, 1.15))) for length in cutout.size)
    cutout = cutout.resize((wide, high), Image.Resampling.BILINEAR)
    alpha = cutout.getchannel("A")
    body = cutout.convert("RGB")
    if rng.random() < 0.5:
        body = recoloured(body, rng, 0.3)
    if rng.random() < 0.3:
        body = degrade.uneven_light(body, rng, 2)
    if rng.random() < 0.25:
        radius = float(rng.uniform(0.3, 1.2))
        body, alpha = (part.filter(ImageFilter.GaussianBlur(radius)) for part in (body, alpha))
    body.putalpha(alpha)
    return body


def _place(rng: np.random.Generator, size: tuple[int, int], cutout: tuple[int, int]) -> tuple[int, int]:
    """Left top corner; a quarter of the object may be beyond the picture's edge."""
    left, top = (
        int(rng.integers(-own // 4, max(1, whole - 3 * own // 4)))
        if rng.random() < 0.25
        else int(rng.integers(0, max(1, whole - own + 1)))
        for whole, own in zip(size, cutout, strict=True)
    )
    return left, top


def mask_at(alpha: Image.Image, place: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Bool (height, width) mask, in a picture of `size`, of an object whose L alpha has its left top corner there."""
    canvas = Image.new("L", size)
    canvas.paste(alpha, place)
    return np.asarray(canvas) > 127


def _shadow(image: Image.Image, cutout: Image.Image, place: tuple[int, int], rng: np.random.Generator) -> None:
    """Darkens what is around the object, to one side, softly."""
    canvas = Image.new("L", image.size)
    reach = 0.12 * max(cutout.size)
    shift = rng.uniform(-reach, reach, 2).astype(int).tolist()
    strength = float(rng.uniform(0.2, 0.7))
    alpha = cutout.getchannel("A").point([int(level * strength) for level in range(256)])
    canvas.paste(alpha, (place[0] + shift[0], place[1] + shift[1]))
    soft = canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.02, 0.08)) * max(cutout.size)))
    image.paste((0, 0, 0), (0, 0), soft)


def _taken(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As a camera or a converter leaves it: up to two damages."""
    for index in rng.permutation(len(_DAMAGES))[: rng.integers(0, 3)]:
        image = _DAMAGES[index](image, rng, float(rng.uniform(0.5, 1.5)))
    return image
