"""Files to look at: the curve of a run, and cells side by side on one sheet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]


def save_curve(log: Path, series: Mapping[str, Colour], width: int = 900, height: int = 420) -> Path:
    """Write `curve.png` beside a run's log: these numbers of it over the steps, the largest at the top."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    steps = np.array([line["step"] for line in lines], dtype=float)
    top = max(max(line[name] for name in series) for line in lines)
    for row, (name, colour) in enumerate(series.items()):
        values = np.array([line[name] for line in lines])
        xs, ys = 40 + (width - 60) * steps / steps.max(), height - 30 - (height - 60) * values / top
        draw.line([*zip(xs.tolist(), ys.tolist(), strict=True)], fill=colour, width=2)
        draw.text((width - 170, 14 + 18 * row), f"{name} {values[-1]:.3f}", fill=colour, font=font)
    draw.line((40, 30, 40, height - 30, width - 20, height - 30), fill="black")
    draw.text((4, 24), f"{top:.1f}", fill="black", font=font)
    draw.text((width - 90, height - 24), f"step {steps[-1]:.0f}", fill="black", font=font)
    return saved(image, log.with_name("curve.png"))


def sheet(cells: Sequence[Image.Image], columns: int = 3) -> Image.Image:
    """Cells of one size, row by row."""
    rows = -(-len(cells) // columns)
    picture = Image.new("RGB", (columns * cells[0].width, rows * cells[0].height), (120, 120, 120))
    for number, cell in enumerate(cells):
        picture.paste(cell, (number % columns * cell.width, number // columns * cell.height))
    return picture


def saved(image: Image.Image, path: Path) -> Path:
    """Write a picture, its folder too if it is not there; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path
