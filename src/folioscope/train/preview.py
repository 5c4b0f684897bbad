"""A contact sheet of training pages for people: page, boxes and glyph middles, with the plain answer beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from folioscope.train.render import PageStyle, TrainingPage, render_page

_BOX = re.compile(r"<\|ref\|>(\w+)<\|/ref\|><\|det\|>\[\[(\d+), (\d+), (\d+), (\d+)\]\]")


def save_preview(folder: str | Path, style: PageStyle, count: int = 12, seed: int = 0, columns: int = 3) -> Path:
    """Write `pages.png` into `folder`: `count` pages of seeds `seed`, `seed` + 1, …; return its path."""
    cells = [_cell(render_page(style, seed + number), style.side) for number in range(count)]
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * cells[0].width, rows * cells[0].height), (120, 120, 120))
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * cell.width, number // columns * cell.height))
    path = Path(folder) / "pages.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def _cell(page: TrainingPage, side: int) -> Image.Image:
    cell = Image.new("RGB", (2 * side + 12, side + 4), (220, 220, 220))
    cell.paste(_marked(page), (2, 2))
    font = ImageFont.load_default(11)
    ImageDraw.Draw(cell).multiline_text((side + 8, 4), page.plain, fill=(0, 0, 0), font=font)
    return cell


def _marked(page: TrainingPage) -> Image.Image:
    image = page.image.copy()
    draw = ImageDraw.Draw(image)
    for label, *corners in _BOX.findall(page.grounded):
        x1, y1, x2, y2 = np.array(corners, dtype=float) / 999 * [*image.size, *image.size]
        draw.rectangle((x1, y1, x2, y2), outline=(220, 0, 0) if label != "image" else (0, 0, 220))
    for x, y in page.plain_xy[~np.isnan(page.plain_xy[:, 0])]:
        draw.point((x, y), fill=(0, 160, 0))
    for _, x1, _, x2, y2 in page.glyphs:
        draw.line((x1, y2, x2 - 2, y2), fill=(0, 140, 255))
    return image
