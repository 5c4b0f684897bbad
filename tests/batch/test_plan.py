"""The plan: the same items for every worker, whoever began the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from folioscope.batch.jsonl import lines_of
from folioscope.batch.place import LocalFolder
from folioscope.batch.plan import HEAD_PAGES, PART_PAGES, Run
from folioscope.batch.settings import Settings
from folioscope.types import InputError, OutputError


def begun(folder: Path, documents: int, **settings: object) -> Run:
    entries = [(f"{number}.pdf", f"{number}") for number in range(documents)]
    return Run.start(LocalFolder(folder), ["*.pdf"], entries, Settings(**settings))  # type: ignore[arg-type]


def publish(run: Run, group: int, lengths: list[int]) -> None:
    assert run.place.create(run.group(group).output, lines_of({"pages": length} for length in lengths))


def names(run: Run) -> list[str]:
    return [item.claim for item in run.pending()]


def test_every_document_is_in_one_group(tmp_path: Path) -> None:
    for documents in (1, 7, 9, 100, 100_000):
        run = begun(tmp_path / str(documents), documents)
        members = [number for group in range(run.groups) for number in run.group(group).documents]
        assert members == list(range(documents))
        assert run.groups <= 10_000
    assert run.size == 10
    assert begun(tmp_path / "few", 16).groups == 8


def test_long_documents_are_read_in_parts_and_then_put_together(tmp_path: Path) -> None:
    run = begun(tmp_path, 10, batch_size=2)
    publish(run, 0, [HEAD_PAGES, HEAD_PAGES + PART_PAGES + 1])
    publish(run, 1, [1, 0])
    parts = run.parts(0)
    assert [(part.documents, part.first, part.last) for part in parts] == [
        ([1], HEAD_PAGES + 1, HEAD_PAGES + PART_PAGES),
        ([1], HEAD_PAGES + PART_PAGES + 1, HEAD_PAGES + 2 * PART_PAGES),
    ]
    rest = ["000002-group", "000003-group", "000004-group"]
    assert names(run) == [*(part.claim for part in parts), "000001-finish", *rest]
    for part in parts:
        run.place.create(part.output, b"")
    assert names(run) == ["000000-finish", "000001-finish", *rest]
    run.place.create(run.finish(0).output, b"")
    assert names(run) == ["000001-finish", *rest]
    assert [item.group for item in run.pending(start=3)] == [3, 4, 1, 2]


def test_all_who_begin_have_the_same_run(tmp_path: Path) -> None:
    first, second = begun(tmp_path, 3, dpi=50.0), begun(tmp_path, 4)
    assert (second.id, second.entries, second.settings) == (first.id, first.entries, Settings(dpi=50.0))
    assert len(list((tmp_path / "sources").iterdir())) == 1
    found = Run.open(LocalFolder(tmp_path))
    assert found is not None
    assert found.arguments == ["*.pdf"]
    assert Run.open(LocalFolder(tmp_path / "elsewhere")) is None


def test_a_run_that_was_begun_again_is_another(tmp_path: Path) -> None:
    run = begun(tmp_path, 3)
    assert run.is_current()
    (tmp_path / "manifest.json").unlink()
    assert not run.is_current()
    begun(tmp_path, 3)
    assert not run.is_current()


def test_runs_that_cannot_be_gone_on_with(tmp_path: Path) -> None:
    begun(tmp_path, 3)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"version": "0.0.1"}))
    with pytest.raises(InputError, match=r"made by folioscope 0\.0\.1.*--recompute"):
        Run.open(LocalFolder(tmp_path))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"documents": 4}))
    with pytest.raises(OutputError, match="is not whole"):
        Run.open(LocalFolder(tmp_path))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"max_page_error_rate": 1.5}])
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]
