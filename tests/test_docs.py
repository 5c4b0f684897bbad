"""What README and docs/ tell people to run, run: shell lines through the command, Python blocks as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from folioscope.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / name for name in ("read.md", "segment.md", "train.md", "bench.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLACEHOLDERS = ("page.png", "PATH", "IMAGE")
NOT_HERE = ("--model", "folioscope train", "folioscope serve", "--size full")  # the published weights; minutes of work


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(page.read_text(encoding="utf-8")) if found == language]


def shell_lines() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "") for line in block.splitlines()]
    commands = [line.split("#")[0].strip() for line in lines if line.startswith("folioscope ")]
    return [line for line in commands if not any(word in line for word in (*PLACEHOLDERS, *NOT_HERE))]


def python_blocks() -> list[str]:
    """The blocks of a page run as one program, since later ones use the names of earlier ones."""
    kept = [
        [block for block in blocks(page, "python") if not any(word in block for word in PLACEHOLDERS)] for page in PAGES
    ]
    return ["\n".join(some) for some in kept if some]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.py", "*.md"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_something_to_run() -> None:
    assert len(shell_lines()) >= 5
    assert len(python_blocks()) >= 2


@pytest.mark.parametrize("line", shell_lines())
def test_shell_line(line: str, folder: Path) -> None:
    command, _, given = line.partition("<")
    result = CliRunner().invoke(
        app, shlex.split(command)[1:], input=(folder / given.strip()).read_bytes() if given else None
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()


@pytest.mark.parametrize("program", python_blocks())
def test_python_blocks(program: str, folder: Path) -> None:
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_readme_shows_what_the_command_prints(folder: Path) -> None:
    shown = next(block for block in blocks(ROOT / "README.md", "") if block.startswith("$ folioscope read"))
    command, _, printed = shown.partition("\n")
    result = CliRunner().invoke(app, shlex.split(command)[2:])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == printed.strip()


@pytest.mark.parametrize(
    "page",
    [*PAGES, *(ROOT / "docs" / name for name in ("design.md", "models.md", "evaluate.md"))],
    ids=lambda page: page.name,
)
def test_links_lead_somewhere(page: Path) -> None:
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", prose)
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
