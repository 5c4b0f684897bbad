"""Pictures for people: composites and pages with their masks, and what a segmenter cut out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from folioscope.segment import Segmenter
from folioscope.train.charts import saved, sheet
from folioscope.train.composites.compose import Composite, CompositeStyle, compose
from folioscope.train.composites.page_objects import compose_page
from folioscope.train.segmenter_evaluate import Cut, CutScore, evaluate_cuts

SERIES = {
    "dice": (200, 30, 30),
    "kin": (30, 120, 30),
    "look": (40, 60, 200),
    "chosen": (120, 120, 120),
    "last": (0, 0, 0),
}
"""What the curve of a run shows; `chosen` is the IoU from a first prompt, `last` after corrections."""

SHOWN = 12
"""Objects on a sheet, at most."""

_TRUTH, _DRAWN, _PROMPT = (0, 190, 0), (255, 0, 60), (255, 230, 0)


def save_preview(folder: Path, style: CompositeStyle, count: int, seed: int = 0) -> Path:
    """Write `scenes.png`: `count` pictures of seeds `seed`, `seed` + 1, …, every fourth a page; return its path."""
    style = replace(style, side=256)
    scenes = [(compose_page if number % 4 == 3 else compose)(style, seed + number) for number in range(count)]
    return saved(sheet([_squared(_marked(scene), style.side) for scene in scenes], 6), folder / "scenes.png")


def look_at(checkpoint: Path, count: int, path: Path) -> CutScore:
    """Cut up `count` held-out composites with a checkpoint, and draw some of the objects."""
    cuts: list[Cut] = []
    score = evaluate_cuts(Segmenter.from_pretrained(checkpoint), "composites", count, cuts.append)
    save_cuts(path, cuts[:: -(-len(cuts) // SHOWN)])
    return score


def save_cuts(path: Path, cuts: Sequence[Cut]) -> Path:
    """Draw each object twice, cut out with a click and with a box; what should have been in green."""
    side = max(max(cut.scene.image.size) for cut in cuts)
    return saved(sheet([_squared(_cut(cut), (2 * side, side)) for cut in cuts], 3), path)


def _marked(scene: Composite) -> Image.Image:
    pixels = np.array(scene.image)
    for mask in scene.masks:
        pixels[_rim(mask)] = _TRUTH
    return Image.fromarray(pixels)


def _cut(cut: Cut) -> Image.Image:
    """The click's mask, then the box's, in red over the picture, with the truth's rim."""
    width, height = cut.scene.image.size
    picture = Image.new("RGB", (2 * width, height))
    for place, (mask, iou) in enumerate(zip((cut.click, cut.box), cut.ious, strict=False)):
        pixels = np.array(cut.scene.image)
        pixels[mask.array] = (0.5 * pixels[mask.array] + 0.5 * np.array(_DRAWN)).astype(np.uint8)
        pixels[_rim(cut.truth)] = _TRUTH
        half = Image.fromarray(pixels)
        draw = ImageDraw.Draw(half)
        for x, y in mask.prompt.points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_PROMPT, outline="black")
        if mask.prompt.box:
            draw.rectangle(mask.prompt.box, outline=_PROMPT)
        draw.text(
            (3, 2),
            f"IoU {iou:.2f}, score {mask.score:.2f}",
            "white",
            ImageFont.load_default(12),
            stroke_width=1,
            stroke_fill="black",
        )
        picture.paste(half, (place * width, 0))
    return picture


def _rim(mask: np.ndarray) -> np.ndarray:
    inner = np.pad(mask, 1)
    inside = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return mask & ~inside


def _squared(picture: Image.Image, size: int | tuple[int, int]) -> Image.Image:
    wide, high = (size, size) if isinstance(size, int) else size
    cell = Image.new("RGB", (wide + 4, high + 4), (120, 120, 120))
    cell.paste(picture, (2, 2))
    return cell
