"""`folioscope train reader --draw`: pages to train on, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from folioscope.cli import app
from folioscope.placement import threads
from folioscope.train.own_pages import load_pages


@pytest.fixture(autouse=True)
def threads_restored() -> Iterator[None]:
    with threads(None):
        yield


def draw(out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["train", "reader", "--draw", "--pages", "3", "--out", str(out), *options])


def test_pages_like_a_trials_are_drawn(tmp_path: Path) -> None:
    sides = {}
    for name in ("domain", "clean"):
        result = draw(tmp_path / name, "--trial", name)
        assert result.exit_code == 0, result.output
        file = Path(result.stdout.strip())
        sides[name] = [max(page.open().size) for page in load_pages(file)]
    assert max(sides["domain"]) <= 384 < max(sides["clean"]) <= 640


@pytest.mark.parametrize(
    ("names", "message"),
    [(["clean", "codes"], "--draw: 2 trials; name one"), (["none"], '--trial "none": there is no such trial')],
)
def test_other_than_one_trial_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    result = draw(tmp_path / "out", *[option for name in names for option in ("--trial", name)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"folioscope: error: {message}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
