"""The whole measurement on networks small enough for a test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from folioscope.bench import ceilings, report, run, stages
from folioscope.bench.checkpoint import copy_tokenizer, write_weights
from folioscope.bench.result import Bench, BenchOptions, Loading, Machine, Row, Work
from folioscope.cli import app
from folioscope.config import OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.quantize import stored_kind
from folioscope.types import InputError
from folioscope.weights import save_sam, to_published
from folioscope.weights.fitting import hollow
from random_sam import random_sam

MACHINE = Machine("a processor", 2, "2.6", "torch", float32=1e11, bfloat16=2e11, int8=4e11, read=2e10)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "SECONDS", 0.01)
    monkeypatch.setattr(ceilings, "READ_BYTES", 1 << 20)
    monkeypatch.setattr(ceilings, "ROWS", 64)
    for name, value in {"PREFILLS": (20,), "CONTEXTS": (12, 30), "STEPS": 2, "PROMPTS": (1, 3)}.items():
        monkeypatch.setattr(stages, name, value)


@pytest.fixture
def reader(tmp_path: Path, tiny_config: dict[str, Any]) -> Path:
    """A folder as the measurement would write it, of a tiny network."""
    model = hollow(lambda: DeepseekOcr(OcrConfig.from_dict(tiny_config)))
    write_weights(tmp_path, model.state_dict(), to_published, torch.float32, shards=2)
    copy_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(tiny_config), encoding="utf-8")
    return tmp_path


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    save_sam(random_sam(), tmp_path)
    return tmp_path


def test_reader(reader: Path) -> None:
    options = BenchOptions("float32", batch=2, runs=1, checkpoint=reader)
    measured = run.bench("reader", options)
    names = [row.stage for row in measured.rows]
    assert [name.split(",")[0] for name in names] == ["vision"] * 3 + ["prefill"] + ["decode"] * 3
    assert names[-1].endswith("batch 2")
    assert all(row.seconds > 0 and row.floor > 0 and row.work.operations > 0 for row in measured.rows)
    assert measured.loading[0].seconds > 0
    assert measured.loading[0].peak is None or measured.loading[0].peak > 1e7


def test_segmenter_against_transformers(segmenter: Path) -> None:
    pytest.importorskip("transformers", minversion="5.23")
    options = BenchOptions("float32", batch=2, runs=1, against="transformers", checkpoint=segmenter)
    measured = run.bench("segmenter", options)
    assert len(measured.rows) == 2 + 4
    assert all(row.against for row in measured.rows)
    assert [loading.system for loading in measured.loading] == ["folioscope", "transformers"]


def test_reader_against_transformers(reader: Path) -> None:
    pytest.importorskip("transformers", minversion="5.23")
    options = BenchOptions("float32", runs=1, against="transformers", parts="prefill,decode", checkpoint=reader)
    measured = run.bench("reader", options)
    assert all(row.against for row in measured.rows)
    assert "transformers" in report.as_text(measured)


def test_a_quantised_reader_is_written_once(
    tiny_config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tiny(folder: Path, dtype: torch.dtype) -> None:
        model = hollow(lambda: DeepseekOcr(OcrConfig.from_dict(tiny_config)))
        write_weights(folder, model.state_dict(), to_published, dtype, shards=1)
        (folder / "config.json").write_text(json.dumps(tiny_config), encoding="utf-8")

    monkeypatch.setattr(run, "write_reader", tiny)
    options = BenchOptions("int8", mode="base", runs=1, parts="decode", checkpoint=tmp_path)
    assert len(run.bench("reader", options).rows) == 2
    assert stored_kind(tmp_path) == "int8"
    assert not list(tmp_path.glob(".original-*"))


def test_the_command_prints_json_of_one_schema(segmenter: Path) -> None:
    given = ["--checkpoint", str(segmenter), "--parts", "masks", "--runs", "1", "--json", "-q"]
    result = CliRunner().invoke(app, ["bench", "segmenter", "--dtype", "float32", *given])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["schema"] == report.SCHEMA
    assert printed["machine"].keys() == vars(MACHINE).keys()
    assert printed["options"]["dtype"] == "float32"
    stage = printed["stages"][0]
    assert stage["share_of_ceiling"] == pytest.approx(stage["floor_seconds"] / stage["seconds"])
    assert stage["speedup"] is None
    assert not result.stderr


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dtype": "int3"}, "int3"),
        ({"tiles": "4x4"}, "2 to 9"),
        ({"tiles": "3"}, "2x3"),
        ({"parts": "vision,speed"}, "speed"),
        ({"mode": "huge"}, "base, gundam"),
        ({"dtype": "int8", "against": "transformers"}, "no such weights"),
    ],
)
def test_wrong_options_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BenchOptions(**wrong)


@pytest.mark.parametrize(
    ("work", "weights", "floor"),
    [
        (Work(linear=2e11, attention=1e11), "bfloat16", 1.5),
        (Work(linear=2e11, attention=1e11), "float32", 3.0),
        (Work(linear=2e11, attention=1e11), "int8", 1.0),
        (Work(linear=2e9, read=2e10), "int4", 1.0),
    ],
)
def test_the_floor_is_what_arithmetic_or_reading_takes(work: Work, weights: str, floor: float) -> None:
    assert MACHINE.floor(work, weights) == pytest.approx(floor)


def test_the_better_of_two_ceilings_counts() -> None:
    other = Machine(**{**vars(MACHINE), "bfloat16": 3e11, "read": 1e10})
    better = ceilings.best_of(MACHINE, other)
    assert (better.bfloat16, better.read, better.threads) == (3e11, 2e10, 2)


def test_the_table_has_what_was_measured() -> None:
    rows = (Row("decode", 0.05, Work(1e9, 0, 1e9), floor=0.025, tokens=1, against=0.2),)
    text = report.as_text(Bench("reader", BenchOptions(against="transformers"), MACHINE, rows))
    line = next(line for line in text.splitlines() if line.startswith("decode"))
    assert line.split() == ["decode", "0.05", "20.0", "1", "1.000", "0.025", "50%", "0.2", "4.00"]


def test_targets_are_judged_for_the_published_size() -> None:
    rows = (
        Row("decode, context 300, batch 1", 0.05, Work(1e9, 0, 1e9), floor=0.035, tokens=1),
        Row("decode, context 300, batch 8", 0.16, Work(1e9, 0, 1e9), floor=0.035, tokens=8),
    )
    loading = (Loading("folioscope", 1.5, int(5e9)),)
    measured = Bench("reader", BenchOptions("int8", batch=8), replace(MACHINE, path="native avx512"), rows, loading)
    lines = report.as_text(measured).splitlines()[-4:]
    assert [line.split()[0] for line in lines] == ["met", "missed", "met", "missed"]
    assert "0.7 of ceiling, target at least 0.6" in lines[0]
    assert "2.5 times one row's tokens/s, target at least 3: at the same share of the ceiling it would be 8" in lines[1]
    embedded = replace(measured, options=BenchOptions("int8", size="embedded"))
    assert "target" not in report.as_text(embedded)


def test_a_missed_share_says_what_products_and_reading_take() -> None:
    rows = (Row("prefill, 273 positions", 0.5, Work(1e11, 0, 2e9), floor=0.2, tokens=273),)
    (line,) = report.as_text(Bench("reader", BenchOptions("bfloat16"), MACHINE, rows)).splitlines()[-1:]
    products, reading = 1e11 / MACHINE.bfloat16, 2e9 / MACHINE.read
    assert line.startswith(
        "missed  prefill, 273 positions: 0.4 of ceiling, target at least 0.7: of 0.5 s, products take"
    )
    assert line.endswith(f"{products:.3g} at least and reading {reading:.3g}")
