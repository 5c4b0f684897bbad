"""What was cut out of images → files. A format is one entry of `IMAGE_FORMATS` or `RUN_FORMATS`.

`masks.json` has the schema `folioscope.masks/1`:

    {schema, images: [
        {number, source, size: [width, height], objects: [
            {number, prompt: {points, labels, box: box | null, mask: true | false}, best,
             results: [{number, score, area, box: box | null, stability: 0..1 | null, crop: box | null, rle}]}]}]}

A box is [x1, y1, x2, y2] in pixels of the image, its right bottom exclusive. `best` is the number of the result with
the highest score. `rle` is COCO's compressed run-length code. Masks found without a prompt have `stability` and `crop`.
`coco.json` is a dataset as COCO's API loads it, of the best mask of each object that is not empty: `bbox` is COCO's
(x, y, width, height), and the other fields of Meta's generator stand beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from folioscope.export.files import File, jpeg, text_file, write
from folioscope.export.masks import coco_rle, cutout_png, mask_png, overlay, record
from folioscope.export.outlines import geojson
from folioscope.masks import Mask, MaskPrompt
from folioscope.types import InputError

SCHEMA = "folioscope.masks/1"

QUALITY = 90
"""JPEG quality of overlays: the edges are what one looks for."""


@dataclass(frozen=True)
class ImageMasks:
    """What was cut out of one image.

    Attributes:
        number: Its place among the images of the run, from 0; files are named by it.
        source: Its name.
        size: Width and height in pixels.
        objects: For each object, its masks in the model's order; each has one or more.
        image: RGB; records need none.
    """

    number: int
    source: str
    size: tuple[int, int]
    objects: Sequence[Sequence[Mask]]
    image: Image.Image | None = None

    @property
    def best(self) -> list[Mask]:
        """The mask of each object that the model thinks best of."""
        return [masks[best_of(masks)] for masks in self.objects]

    def for_records(self) -> ImageMasks:
        """Without what takes memory: pixels and logits."""
        slim = [[replace(mask, low_logits=None, upscaled=None) for mask in masks] for masks in self.objects]
        return replace(self, image=None, objects=slim)

    @property
    def name(self) -> str:
        """What the names of its files begin with."""
        return f"image_{self.number}"


def best_of(masks: Sequence[Mask]) -> int:
    """Number of the mask with the highest score."""
    return max(range(len(masks)), key=lambda number: masks[number].score)


def save_masks(
    images: Sequence[ImageMasks], folder: str | Path, formats: Sequence[str] = ("png", "json"), *, force: bool = False
) -> list[Path]:
    """Write what was cut out of images into `folder`, all of it or nothing; returns the files in order.

    Args:
        images: Each with another number.
        folder: Made if it is not there.
        formats: Names in `IMAGE_FORMATS` and `RUN_FORMATS`.
        force: Overwrite files that are there.

    Raises:
        InputError: No such format.
        OutputError: A file is there and `force` is False, or the folder cannot be written.
    """
    files = [file for image in images for file in image_files(image, formats)]
    return write(Path(folder), [*files, *run_files(images, formats)], force=force)


def checked_formats(formats: Sequence[str]) -> list[str]:
    """The formats in order. Raises InputError for one that there is not."""
    known = [*IMAGE_FORMATS, *RUN_FORMATS]
    unknown = [name for name in formats if name not in known]
    if unknown:
        raise InputError(f"format {unknown[0]!r}: there is no such format; choose from {', '.join(known)}")
    return list(formats)


def image_files(found: ImageMasks, formats: Sequence[str]) -> list[File]:
    """The files of one image in those of the formats that have such; see `save_masks`."""
    return [file for name in checked_formats(formats) if name in IMAGE_FORMATS for file in IMAGE_FORMATS[name](found)]


def run_files(images: Sequence[ImageMasks], formats: Sequence[str]) -> list[File]:
    """The files of all images in those of the formats that have such; see `save_masks`."""
    return [
        text_file(RUN_FILES[name], RUN_FORMATS[name](images))
        for name in checked_formats(formats)
        if name in RUN_FORMATS
    ]


def _mask_files(found: ImageMasks) -> Iterator[File]:
    for number, masks in enumerate(found.objects):
        for result, mask in enumerate(masks):
            yield File(f"{found.name}_object_{number}_result_{result}.png", partial(mask_png, mask))


def _cutout_files(found: ImageMasks) -> Iterator[File]:
    for number, mask in enumerate(found.best):
        yield File(f"{found.name}_object_{number}_cutout.png", partial(cutout_png, _pixels(found), mask))


def _overlay_files(found: ImageMasks) -> Iterator[File]:
    yield File(f"{found.name}_overlay.jpg", lambda: jpeg(overlay(_pixels(found), found.best), QUALITY))


def _pixels(found: ImageMasks) -> Image.Image:
    if found.image is None:
        raise InputError(f"{found.source}: given without its pixels, which overlays and cut-outs need")
    return found.image


def _outline_files(found: ImageMasks) -> Iterator[File]:
    masks = [
        (mask, {"object": number, "score": mask.score, "area": mask.area}) for number, mask in enumerate(found.best)
    ]
    yield File(f"{found.name}_polygons.geojson", lambda: geojson(masks).encode())


IMAGE_FORMATS: Mapping[str, Callable[[ImageMasks], Iterable[File]]] = {
    "png": _mask_files,
    "cutout": _cutout_files,
    "overlay": _overlay_files,
    "polygons": _outline_files,
}
"""Every result as a PNG; the best of each object cut out; all of them in one picture to look at; their outlines."""


def masks_json(images: Iterable[ImageMasks]) -> str:
    """`masks.json` of all images, ending in a newline."""
    content = {"schema": SCHEMA, "images": [_image(found) for found in images]}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _image(found: ImageMasks) -> dict[str, Any]:
    objects = [
        {
            "number": number,
            "prompt": _prompt(masks[0].prompt),
            "best": best_of(masks),
            "results": [{"number": result, **mask_json(mask)} for result, mask in enumerate(masks)],
        }
        for number, masks in enumerate(found.objects)
    ]
    return {"number": found.number, "source": found.source, "size": found.size, "objects": objects}


def _prompt(prompt: MaskPrompt) -> dict[str, Any]:
    given = {"points": prompt.points, "labels": prompt.labels, "box": prompt.box}
    return {**given, "mask": prompt.mask is not None}


def mask_json(mask: Mask) -> dict[str, Any]:
    """One mask, as in the JSON."""
    measured = {"score": mask.score, "area": mask.area, "box": mask.box}
    return {**measured, "stability": mask.stability, "crop": mask.crop, "rle": coco_rle(mask)}


def coco_json(images: Iterable[ImageMasks]) -> str:
    """`coco.json` of all images, ending in a newline."""
    images = list(images)
    pictures = [
        {"id": found.number, "file_name": found.source, "width": found.size[0], "height": found.size[1]}
        for found in images
    ]
    marked = [(found, mask) for found in images for mask in found.best if mask.area]
    annotations = [
        {"id": number, "image_id": found.number, "category_id": 1, "iscrowd": 0, **_annotation(mask)}
        for number, (found, mask) in enumerate(marked, 1)
    ]
    content = {"images": pictures, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _annotation(mask: Mask) -> dict[str, Any]:
    fields = record(mask, "coco_rle")
    x, y, width, height = fields["bbox"]
    return {**fields, "bbox": [x, y, width + 1, height + 1]}


RUN_FORMATS: Mapping[str, Callable[[Sequence[ImageMasks]], str]] = {"json": masks_json, "coco": coco_json}
"""The records of all images."""

RUN_FILES = {"json": "masks.json", "coco": "coco.json"}
