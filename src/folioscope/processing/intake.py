"""Pictures and label maps in any form → Pillow images and arrays, as the SAM processors need them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from folioscope.pages import open_page
from folioscope.types import InputError

ORIENTATION = 0x0112
"""EXIF's tag."""

URL = re.compile(r"(https?|s3|gs|ftp)://", re.IGNORECASE)

CHANNELS = ((1, 3), (4,))
"""Counts that an image may have, the likelier ones first."""

FORMATS = ("channels_first", "channels_last")


def fetch_images(images: Any) -> Any:
    """Paths, bytes and streams in `images`, nested as it may be, opened upright as RGB; the rest is returned as it is.

    Raises InputError for an address: nothing is downloaded here.
    """
    if isinstance(images, (list, tuple)):
        return [fetch_images(image) for image in images]
    if isinstance(images, (Image.Image, np.ndarray, Tensor)):
        return images
    if isinstance(images, str) and URL.match(images):
        raise InputError(f"{images}: no picture is downloaded; fetch it and give a path, bytes or a Pillow image")
    return open_page(images).image


def listed(images: Any, ndim: int, name: str) -> list[Any]:
    """The pictures of `ndim` axes in a picture, a list, nested lists, or an array or tensor with one axis more."""
    found = list(_flat(images, ndim))
    if not found:
        raise InputError(f"{name}: an empty list; give at least one")
    return found


def _flat(images: Any, ndim: int) -> Iterator[Any]:
    if isinstance(images, (list, tuple)) or (isinstance(images, (np.ndarray, Tensor)) and images.ndim > ndim):
        for image in images:
            yield from _flat(image, ndim)
    else:
        yield images


def rgb_picture(image: Any, data_format: str | None = None) -> tuple[Image.Image, bool]:
    """One picture as 8-bit RGB, and whether it was an array or tensor of numbers in 0..1.

    A path, bytes or stream is turned upright. A Pillow image is taken as it lies, as published: its EXIF orientation
    is not applied, so that points and masks fit `np.array(image)`. Transparency becomes white.

    Raises InputError for what is no picture; `data_format` says where an array's channels are, None looks for 1 or 3
    in front, then at the end, then for 4.
    """
    image = fetch_images(image)
    if isinstance(image, Image.Image):
        return open_page(_as_it_lies(image)).image, False
    pixels = _channels_last(as_array(image), data_format)
    if pixels.dtype.kind == "f" and not (np.isfinite(pixels).all() and pixels.min() >= 0):
        raise InputError("images: an array with numbers below 0 or NaN; give pixels in 0..1 or 0..255, not normalised")
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize > 2 and pixels.min() >= 0 and pixels.max() <= 255:
        pixels = pixels.astype(np.uint8)
    return open_page(pixels).image, pixels.dtype.kind == "f" and bool(pixels.max() <= 1)


def _as_it_lies(image: Image.Image) -> Image.Image:
    if image.getexif().get(ORIENTATION, 1) == 1:
        return image
    plain = image if image.mode.startswith(("I", "F")) else image.convert("RGBA" if "A" in image.getbands() else "RGB")
    return Image.fromarray(np.asarray(plain))


def as_array(image: Any) -> np.ndarray:
    """An array, a tensor of any dtype or device, or a Pillow image's own numbers. Raises InputError for the rest."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        return (image.float() if image.is_floating_point() else image).numpy()
    if isinstance(image, (np.ndarray, Image.Image)):
        return np.asarray(image)
    raise InputError(f"{type(image).__name__}: give a Pillow image, an array or a tensor")


def channel_axis(shape: tuple[int, ...], data_format: str | None) -> int:
    """0 or -1 for an image (C, H, W) or (H, W, C). Raises InputError where neither can be."""
    if data_format is not None and data_format not in FORMATS:
        raise InputError(f"data_format={data_format!r}: give {FORMATS[0]!r} or {FORMATS[1]!r}")
    ends = (shape[0], shape[-1]) if len(shape) == 3 and all(shape) else ()
    axes = range(2) if data_format is None else [FORMATS.index(data_format)]
    for channels in CHANNELS:
        for axis in axes:
            if ends and ends[axis] in channels:
                return -axis
    raise InputError(f"images: an array of shape {shape}; expected (C, H, W) or (H, W, C), C of 1, 3 or 4")


def _channels_last(pixels: np.ndarray, data_format: str | None) -> np.ndarray:
    """(H, W), (C, H, W) or (H, W, C) to (H, W) or (H, W, C)."""
    if pixels.ndim == 2:
        return pixels
    return pixels if channel_axis(pixels.shape, data_format) else np.moveaxis(pixels, 0, -1)


def label_map(labels: Any) -> Image.Image:
    """One (H, W) map of whole numbers as a 32-bit Pillow image. Raises InputError for what is none."""
    values = as_array(labels)
    if values.ndim != 2 or not values.size:
        raise InputError(f"segmentation_maps: a map of shape {values.shape}; expected (H, W), a number a pixel")
    whole = values.astype(np.int32)
    if not np.array_equal(whole, values):
        raise InputError(f"segmentation_maps: {values.dtype} numbers that are not whole; give labels from 0 upwards")
    return Image.fromarray(whole)
