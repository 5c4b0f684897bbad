"""What scanners, cameras and fax machines do to a page; image in, image of the same size out.

`strength` is 1 for a page a person would call clean and 2 for one they would call a bad scan.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter, ImageOps

Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): x' = a x + b y + c, y' = d x + e y + f."""


def degrade(image: Image.Image, rng: np.random.Generator, strength: float = 1.0) -> Image.Image:
    """One to three of the damages below, in the order in which they happen to paper.

    Args:
        image: RGB.
        rng: Chooses the damages and their amounts.
        strength: 0..2; scales every amount; bleed-through comes only above 1.
    """
    damages = _DAMAGES if strength > 1 else _DAMAGES[1:]
    chosen = rng.choice(len(damages), size=rng.integers(1, 4), replace=False)
    for index in sorted(chosen):
        image = damages[index](image, rng, strength)
    return image


def skew_angle(rng: np.random.Generator, strength: float = 1.0) -> float:
    """An angle in degrees, uniform within ± strength."""
    return float(rng.uniform(-strength, strength))


def skew_matrix(size: tuple[int, int], angle: float) -> Matrix:
    """Turns points of the page counter-clockwise by `angle` degrees about its middle, in pixels."""
    middle_x, middle_y = size[0] / 2, size[1] / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    shift_x = middle_x - cos * middle_x - sin * middle_y
    shift_y = middle_y + sin * middle_x - cos * middle_y
    return cos, sin, shift_x, -sin, cos, shift_y


def skew(image: Image.Image, angle: float, fill: tuple[int, int, int]) -> Image.Image:
    """The page turned by `skew_matrix`; corners that come into view are `fill`."""
    inverse = skew_matrix(image.size, -angle)
    return image.transform(image.size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR, fillcolor=fill)


def bleed_through(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """The other side of the sheet shines through: a mirrored, blurred, faint copy."""
    other_side = ImageOps.mirror(image).filter(ImageFilter.BoxBlur(rng.uniform(0.8, 1.6)))
    offset = int(rng.integers(3, 3 + image.height // 4))
    rolled = Image.fromarray(np.roll(np.asarray(other_side), offset, axis=0))
    return Image.blend(image, rolled, float(rng.uniform(0.05, 0.1) * strength))


def uneven_light(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """A smooth shade over the page, darker to one side or corner."""
    corners = 1 - rng.uniform(0, 0.25 * strength, (2, 2)).astype(np.float32)
    shade = Image.fromarray(corners * 255).resize(image.size, Image.Resampling.BILINEAR)
    factor = np.asarray(shade, dtype=np.float32)[..., None] / 255
    return Image.fromarray((np.asarray(image) * factor).astype(np.uint8))


def fade(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Less contrast, around a grey level of its own."""
    contrast, grey = 1 - rng.uniform(0.1, 0.35) * strength, rng.uniform(100, 230)
    table = np.clip((np.arange(256) - grey) * contrast + grey, 0, 255).astype(np.uint8)
    return image.point(table.tolist() * 3)


def blur(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Out of focus by 0.3 to 0.7 pixels at strength 1."""
    return image.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 0.7) * strength))


def resample(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Scaled down a little and up again, as by a careless converter."""
    scale = 1 - rng.uniform(0.1, 0.25) * strength
    small = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(small, Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BICUBIC)


def noise(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Grey grain with a standard deviation of 2 to 10 levels at strength 1."""
    grain = rng.standard_normal((image.height, image.width, 1), dtype=np.float32)
    grain *= np.float32(rng.uniform(2, 10) * strength)
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Saved as JPEG at quality 40 to 90 at strength 1, and read again."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.uniform(40 / strength, 90)))
    return Image.open(buffer).convert("RGB")


_DAMAGES: tuple[Callable[[Image.Image, np.random.Generator, float], Image.Image], ...] = (
    bleed_through,
    uneven_light,
    fade,
    blur,
    resample,
    noise,
    jpeg,
)
