"""Workers killed at random moments: nothing is lost, nothing is there twice, and the bytes are those of a quiet run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import ROOT
from piles import FLAGS, merged, pile, quiet_run, results


def start(sources: Path, out: Path, checkpoint: Path, workers: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "folioscope", "batch", str(sources), "-o", str(out), "--workers", str(workers)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(
        [*command, "--model", str(checkpoint), *FLAGS, "-q", *more],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def claimants(out: Path) -> set[int]:
    """Processes that have claimed something."""
    found: set[int] = set()
    for path in (out / "claims").glob("*"):
        with suppress(ValueError, OSError):  # being written
            found.add(json.loads(path.read_text())["process"][0])
    return found


def kill_some(out: Path, command: subprocess.Popen[str], count: int, chance: random.Random) -> int:
    """Kill so many different workers, each a while after one has claimed something; return how many there were."""
    killed: set[int] = set()
    while len(killed) < count and command.poll() is None:
        fresh = claimants(out) - killed
        if fresh:
            time.sleep(chance.uniform(0, 0.6))
            victim = chance.choice(sorted(fresh))
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        time.sleep(0.01)
    return len(killed)


def check(out: Path, quiet: Path, broken: dict[str, str], documents: int) -> None:
    assert merged(out) == merged(quiet)
    found = results(out)
    assert len(found) == documents
    failed = {name for name, line in found.items() if line["status"] == "failed"}
    assert failed == broken.keys()
    for line in found.values():
        numbers = [page["number"] for page in (line["document"] or {"pages": []})["pages"]]
        assert numbers == list(range(1, len(numbers) + 1))


def disturbed(tmp_path: Path, checkpoint: Path, documents: int, longest: int, seed: int, workers: int) -> None:
    """Read a pile with workers of which two are killed, and look at what came of it."""
    broken = pile(tmp_path / "pile", documents, seed=documents, longest=longest)
    quiet_run(tmp_path / "pile", tmp_path / "quiet", checkpoint)
    out = tmp_path / "killed"
    with start(tmp_path / "pile", out, checkpoint, workers) as command:
        assert kill_some(out, command, 2, random.Random(seed)) == 2
        _, said = command.communicate(timeout=1800)
    assert command.returncode == 1, said  # for the broken documents
    assert all(f"/{name}" in said for name in broken), said
    check(out, tmp_path / "quiet", broken, documents)


def test_two_workers_killed(tmp_path: Path, pile_checkpoint: Path) -> None:
    disturbed(tmp_path, pile_checkpoint, documents=16, longest=20, seed=0, workers=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_two_of_four_workers_killed_three_times_over(tmp_path: Path, pile_checkpoint: Path, seed: int) -> None:
    disturbed(tmp_path, pile_checkpoint, documents=200, longest=40, seed=seed, workers=4)


@pytest.mark.slow
def test_the_whole_command_killed_and_given_again(tmp_path: Path, pile_checkpoint: Path) -> None:
    broken = pile(tmp_path / "pile", 16, seed=9, longest=20)
    quiet_run(tmp_path / "pile", tmp_path / "quiet", pile_checkpoint)
    out = tmp_path / "out"
    with start(tmp_path / "pile", out, pile_checkpoint, workers=2) as first:
        while not claimants(out):
            time.sleep(0.01)
        first.kill()  # its workers end with the item that each is at
    with start(tmp_path / "pile", out, pile_checkpoint, workers=2) as second:
        second.communicate(timeout=600)
    check(out, tmp_path / "quiet", broken, 16)
