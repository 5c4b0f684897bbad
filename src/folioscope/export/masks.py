"""Masks → PNG, COCO's run-length code and records, polygons, and a picture to look at.

Sources: pycocotools (`maskApi.c`) for the code; segment-anything's generator for the records.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from folioscope.masks import Mask, MaskPrompt
from folioscope.types import InputError

Ring: TypeAlias = "list[tuple[int, int]]"
Step: TypeAlias = "tuple[int, int]"

VEIL, OUTLINE = 0.45, 1.0
"""How much of an object's colour covers it, and its edge."""

DOT_COLOURS, BOX_COLOUR = {0: (230, 40, 40), 1: (30, 160, 60)}, (255, 225, 0)
"""Of points by their label, and of boxes."""

HUE_STEP = 0.618034
"""The golden section: whatever the number of objects, neighbours in their order differ in colour."""


def mask_png(mask: Mask) -> bytes:
    """The mask as an 8-bit greyscale PNG: 255 on the object, 0 beside it."""
    stream = BytesIO()
    Image.fromarray(mask.array.astype(np.uint8) * 255).save(stream, "PNG")
    return stream.getvalue()


def cutout_png(image: Image.Image, mask: Mask) -> bytes:
    """The object in its box on a transparent background, as an RGBA PNG; an empty mask gives one clear pixel.

    Raises InputError if the RGB `image` is not of the mask's size.
    """
    _same_size(image, mask)
    cut = image.convert("RGBA")
    cut.putalpha(Image.fromarray(mask.array.astype(np.uint8) * 255))
    stream = BytesIO()
    cut.crop(mask.box or (0, 0, 1, 1)).save(stream, "PNG")
    return stream.getvalue()


def coco_rle(mask: Mask, *, compressed: bool = True) -> dict[str, Any]:
    """COCO's `{"size": [height, width], "counts": …}`, ready for JSON: a string, or a list of numbers."""
    counts = np.frombuffer(mask.runs, np.uint32)
    return {"size": list(mask.size[::-1]), "counts": _compressed(counts) if compressed else counts.tolist()}


def _compressed(counts: np.ndarray) -> str:
    """From the fourth on, the difference to the last count but one; then 5 bits a letter, low first, from "0" on."""
    rest = counts.astype(np.int64)
    rest[3:] -= counts[1:-2]
    letters: list[np.ndarray] = []
    going = np.ones(len(rest), bool)
    while going.any():
        bits = rest & 31
        rest >>= 5
        more = rest != np.where(bits & 16, -1, 0)
        letters.append(np.where(going, (bits | more << 5) + 48, 0))
        going &= more
    spelled = np.stack(letters, axis=1).ravel()  # (counts * letters,)
    return spelled[spelled > 0].astype(np.uint8).tobytes().decode("ascii")


def record(mask: Mask, segmentation: Literal["binary_mask", "uncompressed_rle", "coco_rle"] = "binary_mask") -> dict:
    """What Meta's generator returns of a mask: boxes as x, y, width, height, `bbox` from pixel centre to centre."""
    x1, y1, x2, y2 = mask.box or (0, 0, 1, 1)
    left, top, right, bottom = mask.crop or (0, 0, *mask.size)
    form = mask.array if segmentation == "binary_mask" else coco_rle(mask, compressed=segmentation == "coco_rle")
    return {
        "segmentation": form,
        "area": mask.area,
        "bbox": [x1, y1, x2 - 1 - x1, y2 - 1 - y1],
        "predicted_iou": mask.score,
        "point_coords": [list(point) for point in mask.prompt.points],
        "stability_score": mask.stability,
        "crop_box": [left, top, right - left, bottom - top],
    }


def polygons(mask: Mask) -> list[Ring]:
    """The mask's outlines along the edges of its pixels: rings of corners (x, y), not closed by a repeated one.

    Drawn under the even-odd rule they give the mask back. Outer rings run clockwise, rings of holes anticlockwise;
    pixels that only touch at a corner are in rings apart.
    """
    array = np.pad(mask.array.astype(np.int8), 1)
    sides = dict(_sides(array))
    rings: list[Ring] = []
    for step, starts in sides.items():
        while starts:
            rings.append(_ring(sides, step, next(iter(starts))))
    return rings


def _sides(padded: np.ndarray) -> Iterable[tuple[Step, dict[Step, Step]]]:
    """For each direction, with the object on its right hand, the straight sides: start → end."""
    for flipped in (False, True):
        lines = np.diff(padded.T if flipped else padded, axis=0)  # (lines, places along them)
        for sign in (1, -1):
            ends = np.diff((lines == sign).astype(np.int8), axis=1, prepend=0, append=0)
            line, start = np.nonzero(ends == 1)
            stop = np.nonzero(ends == -1)[1]
            yield _directed(line, start - 1, stop - 1, sign, flipped)


def _directed(
    line: np.ndarray, start: np.ndarray, stop: np.ndarray, sign: int, flipped: bool
) -> tuple[Step, dict[Step, Step]]:
    """The object lies below a row's side (`sign` 1), which then runs right; right of a column's, which runs up."""
    forward = (sign > 0) != flipped
    first, last = (start, stop) if forward else (stop, start)
    step = 1 if forward else -1
    places = zip(line.tolist(), first.tolist(), last.tolist(), strict=True)
    if flipped:
        return (0, step), {(at, a): (at, b) for at, a, b in places}
    return (step, 0), {(a, at): (b, at) for at, a, b in places}


def _ring(sides: dict[Step, dict[Step, Step]], step: Step, corner: Step) -> Ring:
    """Take the sides of one ring out of `sides`, from a corner on, turning right where there is a choice."""
    first, taken = (step, corner), []
    while not taken or (step, corner) != first:
        taken.append((step, corner))
        corner, right = sides[step][corner], (-step[1], step[0])
        step = right if corner in sides[right] else (step[1], -step[0])
    for step, corner in taken:
        del sides[step][corner]
    return [corner for _, corner in taken]


def overlay(image: Image.Image, masks: Sequence[Mask]) -> Image.Image:
    """A copy of the RGB image with each object under a colour of its own, the smaller ones on top of the larger.

    What was pointed at is on top: dots, green on the object and red beside it, and boxes. A mask that was found without
    a prompt has no such marks. Raises InputError for a mask of another image's size.
    """
    picture = np.array(image, np.float32)  # (height, width, 3)
    colours, cover = np.zeros_like(picture), np.zeros((*picture.shape[:2], 1), np.float32)
    for number, mask in sorted(enumerate(masks), key=lambda item: -item[1].area):
        _same_size(image, mask)
        if mask.box is None:
            continue
        x1, y1, x2, y2 = mask.box
        part = mask.array[y1:y2, x1:x2]
        colours[y1:y2, x1:x2][part] = np.multiply(255, colorsys.hsv_to_rgb(number * HUE_STEP % 1, 0.8, 1))
        cover[y1:y2, x1:x2][part] = VEIL
        cover[y1:y2, x1:x2][part & ~_inside(part)] = OUTLINE
    covered = Image.fromarray(np.rint(picture + (colours - picture) * cover).astype(np.uint8))
    _draw_prompts(covered, [mask.prompt for mask in masks if mask.stability is None])
    return covered


def _draw_prompts(picture: Image.Image, prompts: Sequence[MaskPrompt]) -> None:
    """The marks grow with the picture."""
    draw, radius, line = ImageDraw.Draw(picture), max(3, max(picture.size) // 110), max(1, max(picture.size) // 400)
    for prompt in prompts:
        if prompt.box:
            draw.rectangle(prompt.box, outline=BOX_COLOUR, width=line)
        for (x, y), label in zip(prompt.points, prompt.labels or [1] * len(prompt.points), strict=True):
            if label in DOT_COLOURS:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), DOT_COLOURS[label], "white", line)


def _inside(part: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours are True too."""
    padded = np.pad(part, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _same_size(image: Image.Image, mask: Mask) -> None:
    if image.size != mask.size:
        raise InputError(f"mask: of an image of {mask.size} pixels (width, height), given one of {image.size}")
