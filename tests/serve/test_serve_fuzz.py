"""Every route, with whatever its description allows and forbids: no answer is a 5xx."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from folioscope.read import Reader
from folioscope.segment import Segmenter
from folioscope.serve.options import ServeOptions
from live_server import served
from random_sam import random_sam


def fuzz(address: str, folder: Path, examples: int, phases: str) -> subprocess.CompletedProcess[str]:
    checks = ("--checks", "not_a_server_error", "--phases", phases, "--seed", "1")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", *checks]
    limits = ["--max-examples", str(examples), "--request-timeout", "60", "--suppress-health-check", "all"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "SCHEMATHESIS_HOOKS": ""}
    return subprocess.run(
        [*command, *limits, "--no-color"], cwd=folder, env=environment, capture_output=True, text=True, timeout=1200
    )


@pytest.mark.parametrize(
    ("examples", "phases"), [(1, "fuzzing"), pytest.param(50, "examples,coverage,fuzzing", marks=pytest.mark.slow)]
)
def test_nothing_is_a_server_error(scripted: Reader, tmp_path: Path, examples: int, phases: str) -> None:
    options = ServeOptions(data=tmp_path / "data", max_seconds=5)
    with served(scripted, options, segmenter=Segmenter(random_sam())) as address:
        done = fuzz(address, tmp_path, examples, phases)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
