"""`folioscope models`: the same model in another layout, and what is refused."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from conftest import ROOT
from folioscope.cli import app
from folioscope.config import SamConfig
from folioscope.processing import SamImageProcessor, SamProcessor
from folioscope.weights import load_sam, save_sam
from random_sam import SMALL, random_sam


def convert(source: Path, target: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["models", "convert", str(source), str(target), *options])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_sam(random_sam(), tmp_path / "hf")
    return tmp_path / "hf"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_sam(random_sam(), tmp_path / "sam.pth", layout="meta")
    return tmp_path / "sam.pth"


def test_there_and_back(folder: Path, tmp_path: Path) -> None:
    there = convert(folder, tmp_path / "new.pth")
    assert (there.exit_code, there.stdout) == (0, f"{tmp_path / 'new.pth'}\n")
    assert "eps in the mask decoder's norms, 1e-05, not 1e-06" in there.stderr
    back = convert(tmp_path / "new.pth", tmp_path / "back")
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    assert (back.exit_code, back.stdout.split(), back.stderr) == (
        0,
        [str(tmp_path / "back" / name) for name in names],
        "",
    )
    first, last = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "back"))
    assert first.keys() == last.keys()
    assert all(tensor.equal(last[key]) for key, tensor in first.items())
    assert load_sam(tmp_path / "back").config == replace(SMALL, norm_eps=1e-5)


def test_a_folder_without_processor_gets_one_of_its_size(file: Path, tmp_path: Path) -> None:
    assert convert(file, tmp_path / "new", "--layout", "hf", "--quiet").exit_code == 0
    processor = SamProcessor.from_pretrained(tmp_path / "new").image_processor
    assert (processor.size, processor.pad_size) == ({"longest_edge": 64}, {"height": 64, "width": 64})
    assert (processor.mask_size, processor.mask_pad_size) == ({"longest_edge": 32}, {"height": 32, "width": 32})


def test_the_processor_comes_along(folder: Path, tmp_path: Path) -> None:
    SamProcessor(SamImageProcessor(image_mean=0.25)).save_pretrained(folder, nested=True)
    assert convert(folder, tmp_path / "new").exit_code == 0
    assert SamProcessor.from_pretrained(tmp_path / "new").image_processor.image_mean == [0.25] * 3
    assert json.loads((tmp_path / "new" / "preprocessor_config.json").read_text())["processor_class"] == "SamProcessor"


def test_dtype_and_shards(folder: Path, tmp_path: Path) -> None:
    result = convert(folder, tmp_path / "new", "--dtype", "bfloat16", "--max-shard-size", "20KB")
    assert result.exit_code == 0, result.stderr
    assert f"{tmp_path / 'new' / 'model.safetensors.index.json'}\n" in result.stdout
    assert load_sam(tmp_path / "new").dtype == torch.bfloat16


def test_nothing_is_overwritten_unless_told(folder: Path, file: Path) -> None:
    for source, target, there in ((folder, file, file), (file, folder, folder / "config.json")):
        refused = convert(source, target)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert f"{there}: is there already; --force overwrites it" in refused.stderr
        assert convert(source, target, "--force").exit_code == 0
    assert convert(folder, folder, "--force").exit_code == 0
    assert isinstance(load_sam(folder).config, SamConfig)


@pytest.mark.parametrize(
    ("options", "exit_code", "complaint"),
    [
        (["none", "new.pth"], 1, "none: no such folder"),
        (["hf", "new", "--layout", "meta"], 2, "new: Meta's layout is one file; give it a name that ends in .pth"),
        (["hf", "sam.pth", "--layout", "hf"], 2, "sam.pth: is a file"),
        (["hf", "new", "--dtype", "int3"], 2, "dtype 'int3'"),
        (["hf", "new", "--max-shard-size", "much"], 2, "max_shard_size='much'"),
        (["other", "new"], 1, "other: config.json: model_type='llama' is not Segment Anything"),
        (["code.pth", "new"], 1, "code.pth: refused: opening it could run code"),
    ],
)
def test_refusals(
    folder: Path, file: Path, options: list[str], exit_code: int, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "config.json").write_text('{"model_type": "llama"}')
    torch.save(print, folder.parent / "code.pth")
    result = CliRunner().invoke(app, ["models", "convert", *options])
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (folder.parent / "new").exists()


def test_only_what_can_be_exported_is() -> None:
    result = CliRunner().invoke(app, ["models", "export", "reader", "--onnx", "out"])
    assert result.exit_code == 2
    assert "'sam'" in result.stderr


def test_the_manual_has_no_option_that_there_is_not() -> None:
    manual = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    lines = re.findall(r"^folioscope (models [^#\n]+)", manual, re.MULTILINE)
    assert {line.split()[1] for line in lines} >= {"convert", "export"}
    for line in lines:
        result = CliRunner().invoke(app, [*shlex.split(line), "--help"])
        assert result.exit_code == 0, (line, result.stderr)
    assert CliRunner().invoke(app, ["models", "convert", "a", "b", "--layuot", "hf", "--help"]).exit_code == 2
