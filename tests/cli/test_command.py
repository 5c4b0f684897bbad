"""The command as a process: quick answers, interrupts, closed pipes, terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import folioscope
from folioscope.cli import app
from scripted import scripted_checkpoint, sheet

FOLIOSCOPE = (sys.executable, "-m", "folioscope")


@pytest.fixture
def endless(shared, tmp_path: Path) -> list[str]:
    """A command that prints for minutes: random weights find no end."""
    toy = shared("golden", "deepseek_toy")
    image = str(toy / "images" / "small.png")
    return [*FOLIOSCOPE, "read", image, "--model", str(toy), "--mode", "tiny", "--stream"]


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"folioscope {folioscope.__version__}\n")


def test_help_lists_the_verbs() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "\n  read " in result.stdout
    assert "\n  segment " in result.stdout


def test_an_interrupt_ends_it_quietly(endless: list[str]) -> None:
    with subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(1)  # it is at work
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 130


def test_a_closed_pipe_ends_it_quietly(endless: list[str]) -> None:
    with subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_terminal_shows_progress_beside_the_data(tmp_path: Path) -> None:
    import pty

    sheet((40, 60)).save(tmp_path / "pagé.png")
    reading = (
        "read",
        tmp_path / "pagé.png",
        "--model",
        scripted_checkpoint(tmp_path),
        "-o",
        tmp_path,
        "--format",
        "md",
    )
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "300", "PYTHONIOENCODING": "ascii"}
    terminal, stderr = pty.openpty()
    done = subprocess.run(
        [*FOLIOSCOPE, *reading], stdout=subprocess.PIPE, stderr=stderr, timeout=60, env=environment, check=True
    )
    os.close(stderr)
    shown = _all_of(terminal)
    assert done.stdout.decode() == f"{tmp_path / 'pagé.md'}\n{tmp_path / 'pagé_images' / '1_0.jpg'}\n"
    assert b"0/1" in shown
    assert b"page 1" in shown


def _all_of(terminal: int) -> bytes:
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    return b"".join(parts)
