"""The tables of docs/segment.md say what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from math import log

from conftest import ROOT
from folioscope.export.mask_files import IMAGE_FORMATS, RUN_FILES, RUN_FORMATS
from folioscope.masks import EverythingOptions
from folioscope.model.sam_prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, PADDING, TOP_LEFT
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
