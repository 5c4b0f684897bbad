"""`folioscope models quantize`: a smaller checkpoint that reads as the original does, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from folioscope.cli import app
from folioscope.quantize import QUANTISED
from folioscope.read import Reader
from scripted import raw, scripted_checkpoint


def quantize(source: Path, target: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["models", "quantize", str(source), str(target), *options])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted_checkpoint(tmp_path_factory.mktemp("scripted"))


@pytest.mark.parametrize("kind", QUANTISED)
def test_a_quantised_reader_reads_the_same(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    result = quantize(checkpoint, tmp_path / "small", "--dtype", kind)
    assert (result.exit_code, result.stderr) == (0, "")
    assert str(tmp_path / "small" / "model.safetensors") in result.stdout.split()
    page = Image.new("L", (60, 60), 255)
    page.paste(0, (10, 10, 50, 20))  # or it would count as blank
    expected = Reader.from_pretrained(checkpoint).read(page).pages[0].raw
    assert raw() in expected
    assert Reader.from_pretrained(tmp_path / "small").read(page).pages[0].raw == expected
    assert Reader.from_pretrained(checkpoint, dtype=kind).read(page).pages[0].raw == expected


def test_what_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    assert quantize(checkpoint, tmp_path, "--dtype", "int2").exit_code == 2
    over = quantize(checkpoint, checkpoint, "--dtype", "int8")
    assert (over.exit_code, "--force overwrites it" in over.stderr) == (1, True)
    itself = quantize(checkpoint, checkpoint, "--dtype", "int8", "--force")
    assert (itself.exit_code, "is what is being read" in itself.stderr) == (2, True)
    missing = quantize(tmp_path / "nowhere", tmp_path / "out", "--dtype", "int8")
    assert missing.exit_code == 1
    assert not (tmp_path / "out").exists()
