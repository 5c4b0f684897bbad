"""The documented first run: from scratch by the command, killed without warning, and run again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from folioscope.train.run import LOG, STATE, UNSAVED

COMMAND = [sys.executable, "-m", "folioscope", "train", "reader", "--minutes"]
PATIENCE = 900


def steps(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


@pytest.mark.slow
def test_a_run_is_killed_and_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    running = subprocess.Popen([*COMMAND, "10", "--out", str(tmp_path)], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    try:
        for line in running.stderr:  # a line each fifty steps
            if line.startswith("step ") and (tmp_path / STATE).exists() and len(steps(tmp_path)) >= 5:
                break
        assert time.time() - (tmp_path / STATE).stat().st_mtime < 2 * UNSAVED
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    before = steps(tmp_path)
    again = subprocess.run(
        [*COMMAND, "1", "--out", str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    after = steps(tmp_path)
    assert after[-1]["step"] > before[-1]["step"], again.stderr
    assert before[-1]["text"] < 0.9 * before[0]["text"]
    assert after[-1]["text"] < before[0]["text"]
