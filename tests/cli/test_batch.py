"""`folioscope batch`: what is refused, joined, gone on with and begun again. Its workers are in tests/batch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from folioscope.cli import app
from piles import FLAGS, merged, quiet_run


def batch(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, pile_checkpoint: Path) -> Path:
    """A folder with a finished run of `pile` in `out`; one of its three documents is broken."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "pile").mkdir()
    for number in range(2):
        Image.new("RGB", (60 + number, 70), "gray").save(folder / "pile" / f"{number}.png")
    (folder / "pile" / "2.pdf").write_bytes(b"")
    quiet_run(folder / "pile", folder / "out", pile_checkpoint)
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(done / "out", tmp_path / "out"))


def test_a_finished_run_is_shown_and_left_as_it_is(done: Path, pile_checkpoint: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (done / "out").rglob("*/*")}
    result = batch(done / "pile", "-o", done / "out", "--model", pile_checkpoint, *FLAGS)
    assert result.exit_code == 1
    assert "documents  3 of 3: 2 ok, 1 failed" in result.stdout
    assert "errors     1 is empty" in result.stdout
    assert result.stderr == f"folioscope: error: {done / 'pile' / '2.pdf'}: is empty (0 bytes)\n"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    summary = json.loads((done / "out" / "summary.json").read_text())
    assert (summary["documents"], summary["document_statuses"]) == (3, {"ok": 2, "failed": 1})


def test_stats_of_a_run_on_its_way(copy: Path) -> None:
    for folder in ("index", "results"):
        (copy / folder / "000001.jsonl").unlink()
    result = batch("-o", copy, "--stats")
    assert result.exit_code == 0, result.output
    assert "documents  2 of 3" in result.stdout
    assert "pages      2" in result.stdout
    assert "\nend        in 00:00:" in result.stdout
    assert not (copy / "results" / "000001.jsonl").exists()


def test_resume_goes_on_with_what_is_left(copy: Path, done: Path) -> None:
    for name in ("index/000001.jsonl", "results/000001.jsonl", "documents/1.md"):
        (copy / name).unlink()
    result = batch("-o", copy, "--resume")
    assert result.exit_code == 1, result.output
    assert merged(copy) == merged(done / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--dpi", "72"), "dpi 36.0, not 72.0; --resume goes on with it as it was begun, --recompute"),
        (("--format", "md"), "formats ('md', 'json'), not ('md',)"),
        (("--prompt", "oops"), "oops"),
        (("--mode", "huge"), "'huge'"),
        (("--format", "docx"), "'docx'"),
        (("--temperature", "-1"), "temperature=-1.0"),
    ],
)
def test_another_command_is_refused(done: Path, pile_checkpoint: Path, changes: tuple[str, str], message: str) -> None:
    result = batch(done / "pile", "-o", done / "out", "--model", pile_checkpoint, *FLAGS, *changes)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_other_sources_are_refused(done: Path, pile_checkpoint: Path) -> None:
    result = batch(done / "pile" / "0.png", "-o", done / "out", "--model", pile_checkpoint, *FLAGS)
    assert result.exit_code == 2
    assert f"begun here with the sources {done / 'pile'}" in result.stderr


def test_a_folder_of_something_else_is_not_touched(done: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    result = batch(done / "pile", "-o", tmp_path)
    assert result.exit_code == 1
    assert "holds thesis.tex, and no run of batch; choose another folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_where_nothing_was_begun_there_is_nothing_to_show_or_resume(tmp_path: Path) -> None:
    assert "no run was begun here" in batch("-o", tmp_path / "out", "--stats").stderr
    assert "give files, folders" in batch("-o", tmp_path / "out", "--resume").stderr
    assert "no such file" in batch(tmp_path / "nothing", "-o", tmp_path / "out").stderr
    assert "cannot read one standard input" in batch("-", "-o", tmp_path / "out").stderr
    assert not (tmp_path / "out").exists()
