"""The commands of docs/batch.md, one after the other, with a network that is quick."""

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
from piles import FLAGS
from test_docs import blocks

PAGE = ROOT / "docs" / "batch.md"
QUICK = FLAGS[:6]
ELSEWHERE = ("s3://", "--engine ray")  # a bucket; a cluster, which tests/batch/test_ray.py starts


def commands() -> list[str]:
    lines = [line for block in blocks(PAGE, "") for line in block.splitlines() if line.startswith("folioscope ")]
    return [line for line in lines if not any(word in line for word in ELSEWHERE)]


def test_the_commands_run_in_order(tmp_path: Path, pile_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.py", "*.md"))
    monkeypatch.chdir(tmp_path)
    assert len(commands()) == 5
    for line in commands():
        words = shlex.split(line)[1:]
        if words[1] == "examples":
            words += ["--model", str(pile_checkpoint), *QUICK]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{line}: {result.output}"
        assert result.stdout.startswith("documents  3 of 3: 3 ok\npages      4: 4 "), line
    lines = "".join(path.read_text() for path in sorted(Path("pile/results").glob("*.jsonl"))).splitlines()
    assert [Path(json.loads(line)["source"]).stem for line in lines] == ["letter", "notice", "receipt"]


def test_the_folder_is_as_described(tmp_path: Path, pile_checkpoint: Path) -> None:
    from piles import quiet_run

    quiet_run(ROOT / "examples", tmp_path / "out", pile_checkpoint)
    described = set(
        re.findall(r"`(\w+)(?:/|\.json`)", PAGE.read_text(encoding="utf-8").partition("is in the folder")[2])
    )
    there = {path.stem for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert there <= described
    assert {"summary", "results"} <= described
