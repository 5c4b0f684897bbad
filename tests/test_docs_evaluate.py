"""The commands of docs/evaluate.md, one after the other, with the embedded reader."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import ROOT
from folioscope.cli import app
from folioscope.evaluate.facts import KINDS, fact_of
from folioscope.evaluate.options import METRICS
from folioscope.evaluate.result import BEST
from test_docs import blocks

PAGE = ROOT / "docs" / "evaluate.md"
SUMS = ("mean", "median", "pooled")


def commands() -> list[str]:
    lines = [line for block in blocks(PAGE, "") for line in block.splitlines() if line.startswith("folioscope ")]
    return [line for line in lines if "bench_data" not in line]


def tables(text: str) -> dict[str, list[list[str]]]:
    """Tables by the first word of their heads; cells are two blanks apart at least."""
    found = [[re.split(r" {2,}", line) for line in table.splitlines()] for table in text.strip().split("\n\n")]
    return {table[0][0]: table for table in found}


def without_scores(table: list[list[str]]) -> list[list[str]]:
    return [[re.sub(r"\d\.\d{4}", "score", cell) for cell in row] for row in table]


def test_the_commands_run_in_order_and_print_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the scores themselves: they are another reader's with each checkpoint."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.py"))
    monkeypatch.chdir(tmp_path)
    printed = []
    for line in commands():
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}: {result.output}"
        printed.append(result.stdout)
    assert len(printed) == 4
    shown = tables(next(block for block in blocks(PAGE, "") if block.startswith("metric ")))
    found, pile = tables(printed[1]), json.loads(printed[3])
    for name in ("metric", "facts by type", "facts by file"):
        assert without_scores(found[name]) == without_scores(shown[name])
    assert found["metric"][1] == ["edit", "4", *(f"{pile['metrics']['edit'][key]:.4f}" for key in SUMS)]
    assert found["facts by file"][-2] == ["mean of files", f"{pile['facts']['overall']:.4f}", "9"]


def test_every_metric_and_every_kind_of_fact_is_described() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in {*METRICS, *BEST, *KINDS}:
        assert f"`{name}`" in text, name


def test_the_fact_that_is_shown_is_one() -> None:
    (block,) = blocks(PAGE, "json")
    assert fact_of(json.loads(block), "docs").failure("# Notes\nThe first frost came early") is None
