"""The documented first run: from scratch by the command, killed without warning, and run again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from folioscope.train.run import LOG, STATE, UNSAVED

COMMAND = [sys.executable, "-m", "folioscope", "train", "reader", "--minutes"]
PATIENCE = 900


def steps(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


@pytest.mark.slow
def test_a_run_is_killed_and_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    with subprocess.Popen([*COMMAND, "10", "--out", str(tmp_path)], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:  # a line each fifty steps
            if line.startswith("step ") and (tmp_path / STATE).exists() and len(steps(tmp_path)) >= 4:
                break
        running.send_signal(signal.SIGKILL)
    assert time.time() - (tmp_path / STATE).stat().st_mtime < 2 * UNSAVED
    before, saved = steps(tmp_path), saved_step(tmp_path)
    assert before[-1]["text"] < 0.9 * before[0]["text"]
    again = subprocess.run(
        [*COMMAND, "2", "--out", str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    since = steps(tmp_path)[len(before) :]
    assert saved < since[0]["step"] <= saved + 50, again.stderr
    assert saved_step(tmp_path) >= since[-1]["step"]
    assert since[-1]["text"] < 0.9 * before[0]["text"]


def saved_step(folder: Path) -> int:
    return torch.load(folder / STATE, weights_only=True)["step"]
