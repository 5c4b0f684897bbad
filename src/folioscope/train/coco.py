"""COCO's instances: a JSON of images and of the outlines of their objects, as labelling tools export it.

Source: https://cocodataset.org/#format-data, and pycocotools (`maskApi.c`) for the run-length code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from folioscope.types import InputError


@dataclass(frozen=True)
class Labelled:
    """An image and the outlines of its objects, as the file has them; `size` is width and height."""

    path: Path
    size: tuple[int, int]
    outlines: tuple[Any, ...]

    def masks(self) -> np.ndarray:
        """(n, height, width) bool of the objects that have pixels."""
        drawn = np.stack([outline_mask(outline, self.size) for outline in self.outlines])
        return drawn[drawn.any((1, 2))]


def read_coco(path: Path) -> list[Labelled]:
    """The images of a file that have objects; crowds are left out. Image paths are relative to the file's folder.

    Raises InputError if the file is no such JSON, an image is not there or no object is left.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        outlines: dict[Any, list[Any]] = {}
        for note in content["annotations"]:
            if not note.get("iscrowd") and note.get("segmentation"):
                outlines.setdefault(note["image_id"], []).append(note["segmentation"])
        images = [_labelled(path.parent, image, outlines) for image in content["images"] if image["id"] in outlines]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not COCO's instances ({error!r}); expected images and annotations") from error
    if not images:
        raise InputError(f"{path}: no image has an object with a segmentation")
    return images


def _labelled(folder: Path, image: Mapping[str, Any], outlines: Mapping[Any, list[Any]]) -> Labelled:
    place = folder / image["file_name"]
    if not place.is_file():
        raise InputError(f"{place}: no such image; file names are relative to the JSON's folder")
    labelled = Labelled(place, (int(image["width"]), int(image["height"])), tuple(outlines[image["id"]]))
    labelled.masks()  # what is wrong with an outline is said now, not an hour into the run
    return labelled


def outline_mask(outline: Any, size: tuple[int, int]) -> np.ndarray:
    """Bool (height, width) mask of COCO's polygons, or of its run-length code, as numbers or as letters."""
    if isinstance(outline, Mapping):
        counts = outline["counts"]
        counts = _counts(counts) if isinstance(counts, str) else [int(count) for count in counts]
        height, width = (int(length) for length in outline["size"])
        if (width, height) != size or sum(counts) != width * height or min(counts) < 0:
            raise ValueError(f"runs of {sum(counts)} pixels in an image of {size[0]} x {size[1]}")
        values = np.arange(len(counts)) % 2 == 1
        return np.repeat(values, counts).reshape(width, height).T
    canvas = Image.new("1", size)
    draw = ImageDraw.Draw(canvas)
    for ring in outline:
        draw.polygon([float(number) for number in ring], fill=1)
    return np.array(canvas)


def _counts(letters: str) -> list[int]:
    """The run lengths of COCO's letters: 5 bits each, low first; from the fourth count on, differences."""
    counts: list[int] = []
    value = shift = 0
    for letter in letters.encode("ascii"):
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
