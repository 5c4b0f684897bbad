"""`folioscope evaluate`: tables, JSON, what goes to stderr, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from folioscope.cli import app

FACT = '{"pdf": "a.pdf", "page": 1, "id": "a1", "type": "math", "math": "x^2"}\n'


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


@pytest.fixture
def sides(tmp_path: Path) -> list[Path]:
    """One page right, one with a letter wrong, and a fact that does not hold."""
    files = {"read/a.md": "Page one", "read/b.md": "abcx", "there/a.md": "Page one", "there/b.md": "abcd"}
    for name, content in {**files, "there/f.jsonl": FACT}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return [tmp_path / "read", tmp_path / "there"]


def test_tables(sides: list[Path]) -> None:
    result = run(*sides, "--metric", "edit,facts", "--pages")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["edit", "2", "0.1250", "0.1250", "0.0833"] in lines
    assert ["a", "0.0000"] in lines
    assert ["edit", "0.2500", "b"] in lines
    assert ["math", "0.0000", "1"] in lines
    assert ["mean", "of", "files", "0.5000", "2"] in lines
    assert ["a1", "math", "no", "formula", '"x^2"'] in lines
    assert result.stdout.endswith("math facts: LaTeX compared, not rendered formulas as the benchmark does\n")


def test_json(sides: list[Path]) -> None:
    found: dict[str, Any] = json.loads(run(*sides, "--metric", "edit,cer,facts", "--json").stdout)
    assert found["schema"] == "folioscope.evaluate/1"
    assert found["metrics"]["edit"] | {"definition": ""} == {
        "pages": 2, "mean": 0.125, "median": 0.125, "pooled": 0.083333, "definition": ""
    }  # fmt: skip
    assert found["pages"][1] == {"name": "b", "page": None, "missing": None, "scores": {"edit": 0.25, "cer": 0.25}}
    assert found["facts"]["overall"] == 0.5
    assert found["facts"]["by_type"]["math"] == {"share": 0, "facts": 1}
    assert [fact["id"] for fact in found["facts"]["facts"]] == ["a1", "a.pdf_baseline"]
    assert len(found["notes"]) == 1


def test_what_is_on_one_side_only_is_a_line_and_the_exit_code(sides: list[Path]) -> None:
    (sides[0] / "b.md").rename(sides[0] / "c.md")
    result = run(*sides, "--metric", "edit")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "folioscope: error: b: was not read; counts as wrong",
        "folioscope: error: c: has no truth; counts as wrong (--partial leaves it out)",
    ]
    assert result.stdout.splitlines()[1].split()[:4] == ["edit", "3", "0.6667", "1.0000"]
    assert run(*sides, "--metric", "edit", "--partial").stderr.splitlines() == [
        "folioscope: error: b: was not read; counts as wrong",
        "folioscope: warning: 1 pages have no truth, such as c; left out",
    ]


def test_many_of_them_are_summed_up(sides: list[Path]) -> None:
    for number in range(30):
        (sides[0] / f"x{number}.md").write_text("x")
    lines = run(*sides, "--metric", "edit").stderr.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "folioscope: error: 10 more pages are on one side only: see --json"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("there/f.jsonl", FACT + "{", "f.jsonl, line 2: no JSON"),
        ("there/f.jsonl", FACT + '{"type": "exists"}', "f.jsonl, line 2: type 'exists'; known are present"),
        ("read/b.json", "{}", "b.json: no document of `folioscope read --format json`"),
        ("there/a.md", b"\xff", "a.md: not readable as UTF-8 text"),
    ],
)
def test_a_bad_file_is_one_line_and_nothing_is_measured(
    sides: list[Path], file: str, content: str | bytes, message: str
) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (sides[0].parent / file).write_bytes(data)
    result = run(*sides)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_wrong_commands(sides: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, message in (
        ((sides[0], tmp_path / "nowhere"), "nowhere: there is no such file or folder"),
        ((sides[0], empty), "empty: holds nothing to compare"),
        ((empty, sides[1]), "empty: holds nothing to compare"),
        ((*sides, "--metric", "bleu"), "--metric bleu: must be of edit, cer, wer"),
        ((*sides, "--text", "raw"), "--text raw: must be one of plain"),
    ):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (2, ""), message
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
