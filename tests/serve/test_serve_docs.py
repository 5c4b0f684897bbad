"""What docs/serve.md tells people to run, run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import ROOT
from folioscope.cli import app
from folioscope.read import Reader
from folioscope.segment import EMBEDDED, Segmenter
from folioscope.serve.options import ServeOptions
from live_server import served
from random_sam import random_sam

TEXT = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
CURL = re.findall(r"^curl .*$", TEXT, re.MULTILINE)
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
THERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def address(scripted: Reader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    segmenter = Segmenter.from_pretrained() if EMBEDDED.is_dir() else Segmenter(random_sam())
    options = ServeOptions(data=tmp_path_factory.mktemp("data"))
    with served(scripted, options, segmenter=segmenter) as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not here")
@pytest.mark.parametrize("line", CURL)
def test_curl_line(line: str, folder: Path, address: str) -> None:
    command = line.replace("curl ", "curl -sS --fail-with-body ", 1).replace(THERE, address)
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    written = re.search(r"-o (\S+)", line)
    assert (folder / written[1]).stat().st_size if written else done.stdout.strip()


@pytest.mark.parametrize("program", PROGRAMS)
def test_python_block(program: str, folder: Path, address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program.replace(THERE, address)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_options_are_there() -> None:
    shown = CliRunner().invoke(app, ["serve", "--help"]).stdout
    assert [option for option in re.findall(r"`(--[\w-]+)", TEXT) if option not in shown] == []


def test_there_is_something_to_run() -> None:
    assert len(CURL) >= 8
    assert PROGRAMS
