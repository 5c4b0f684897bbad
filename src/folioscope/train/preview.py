"""Pictures for people: training pages with what is known of them, and pages with what was read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from folioscope.train.charts import saved, sheet
from folioscope.train.evaluate import Reading
from folioscope.train.recipe import ReaderRecipe
from folioscope.train.render import TrainingPage
from folioscope.train.samples import training_page

SERIES = {"text": (200, 30, 30), "cell": (30, 120, 30), "guide": (40, 60, 200), "accuracy": (120, 120, 120)}
"""What the curve of a run shows."""

_GREY = (220, 220, 220)


def save_preview(folder: str | Path, recipe: ReaderRecipe, count: int = 12, seed: int = 0) -> Path:
    """Write `pages.png` into `folder`: `count` pages of the recipe's stages in turn, as it trains on them.

    Their seeds are `seed`, `seed` + 1, …; return the picture's path.
    """
    styles = list(dict.fromkeys(stage.style for stage in recipe.stages))
    pages = [training_page(styles[n % len(styles)], seed + n, recipe.vary) for n in range(count)]
    side = max(max(page.image.size) for page in pages)
    cells = [_cell(_marked(page), [page.plain], side) for page in pages]
    return saved(sheet(cells), Path(folder) / "pages.png")


def save_readings(folder: str | Path, readings: Sequence[Reading]) -> Path:
    """Write `readings.png`: each page, what was read, the errors counted, and what stands there."""
    side = max(max(reading.page.image.size) for reading in readings)
    cells = []
    for reading in readings:
        cells.append(
            _cell(reading.page.image, [reading.answer, f"-- {reading.edits} errors; truth:", reading.truth], side)
        )
    return saved(sheet(cells), Path(folder) / "readings.png")


def _cell(picture: Image.Image, texts: Sequence[str], side: int) -> Image.Image:
    """A picture with its texts beside it, in a square of its own and another."""
    cell = Image.new("RGB", (2 * side + 12, side + 4), _GREY)
    cell.paste(picture, (2, 2))
    font = ImageFont.load_default(11)
    ImageDraw.Draw(cell).multiline_text((side + 8, 4), "\n".join(texts), fill=(0, 0, 0), font=font)
    return cell


def _marked(page: TrainingPage) -> Image.Image:
    image = page.image.copy()
    draw = ImageDraw.Draw(image)
    for box in page.blocks.tolist():
        draw.rectangle(box, outline=(220, 0, 0))
    for x, y in page.plain_xy[~np.isnan(page.plain_xy[:, 0])]:
        draw.point((x, y), fill=(0, 160, 0))
    for _, x1, _, x2, y2 in page.glyphs:
        draw.line((x1, y2, x2 - 2, y2), fill=(0, 140, 255))
    return image
