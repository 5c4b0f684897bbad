"""The tables of docs/segment.md say what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from math import log

import numpy as np

from conftest import ROOT
from folioscope.export.mask_files import IMAGE_FORMATS, RUN_FILES, RUN_FORMATS
from folioscope.masks import EverythingOptions, MaskPrompt
from folioscope.model.sam_prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, PADDING, TOP_LEFT
from folioscope.segment import Segmenter
from folioscope.segment.prompts import UNSURE
from folioscope.views import UNMAPPED_BYTES

TEXT = (ROOT / "docs" / "segment.md").read_text(encoding="utf-8")


def first_cells(header: str) -> list[str]:
    """The first column of the table with this header."""
    table = TEXT[TEXT.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [row.split("|")[1].strip() for row in table]


def test_every_format_is_there() -> None:
    assert {cell.strip("`") for cell in first_cells("| format | file")} == {*IMAGE_FORMATS, *RUN_FORMATS}
    assert all(f"`{name}`" in TEXT for name in RUN_FILES.values())


def test_every_label_is_there() -> None:
    labels = [int(label) for cell in first_cells("| label | meaning") for label in cell.split(",")]
    assert labels == [FOREGROUND, BACKGROUND, NOT_A_POINT, PADDING, TOP_LEFT, BOTTOM_RIGHT]


def test_defaults_of_everything() -> None:
    given = re.findall(r"`--([a-z-]+) ([\d.]+)`", TEXT[TEXT.index("## Everything") :].split("Filters")[0])
    defaults = {field.name.replace("_", "-"): field.default for field in fields(EverythingOptions)}
    assert len(given) == 6
    assert all(float(value) == defaults[name] for name, value in given)


def test_numbers() -> None:
    assert f"±{log(1 / UNSURE - 1):.1f}" in TEXT
    assert f"take {UNMAPPED_BYTES // 10**6} MB" in TEXT
    assert f"{12 * 4096**2 * 4 / 1e6:.0f} MB in float32" in TEXT


def test_the_example_shows_what_was_pointed_at() -> None:
    """The cup's rim is an ellipse; the click is on it, and the box is around the spoon."""
    segmenter = Segmenter.from_pretrained()
    scene = segmenter.embed(ROOT / "examples" / "photos" / "coffee.jpg")
    prompts = [MaskPrompt(points=[(300, 30)]), MaskPrompt(box=(325, 225, 410, 328))]
    cup, spoon = (max(masks, key=lambda mask: mask.score) for masks in segmenter.predict_many(scene, prompts))
    y, x = np.mgrid[:400, :600]
    rim = ((x - 291) / 120) ** 2 + ((y - 113) / 97) ** 2 < 1
    assert cup.array[30, 300]
    assert (cup.array & rim).sum() > 0.85 * cup.area > 0.45 * rim.sum()
    assert spoon.array[225:328, 325:410].sum() > 0.9 * spoon.area > 2000
    assert len(segmenter.segment_all(scene)) >= 5
