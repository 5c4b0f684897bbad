"""What is done with an item: every page is accounted for, and whatever goes wrong stays with its document."""

from __future__ import annotations

import json
import os
import secrets
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from folioscope.batch.begin import begin
from folioscope.batch.isolation import read_alone, read_isolated
from folioscope.batch.plan import HEAD_PAGES, Item, Run
from folioscope.batch.settings import Here
from folioscope.batch.summary import summarise
from folioscope.batch.work import Found
from folioscope.batch.worker import Worker
from folioscope.pages import open_pages
from folioscope.read import Reader
from folioscope.read.story import Teller
from folioscope.types import CheckpointError, OutputError, Page
from piles import BROKEN, merged, pile, quiet_run, results, settings
from test_pages_pdf import many


def worker_of(sources: list[str], out: Path, checkpoint: Path, **more: Any) -> Worker:
    return Worker(begin(sources, str(out), settings(checkpoint, **more)), Here(str(out)))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, pile_checkpoint: Path) -> tuple[Run, dict[str, str], Path]:
    """A pile in which every way to be broken is found, read."""
    folder = tmp_path_factory.mktemp("broken")
    ways = pile(folder / "pile", 10, seed=3, longest=3, broken=0.8)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (folder / "pile").iterdir()}
    run = quiet_run(folder / "pile", folder / "out", pile_checkpoint)
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (folder / "pile").iterdir()}
    assert before == after  # an input is never modified
    return run, ways, folder / "out"


def test_every_broken_document_is_reported(broken: tuple[Run, dict[str, str], Path]) -> None:
    run, ways, out = broken
    assert set(ways.values()) == set(BROKEN)
    found = results(out)
    assert len(found) == 10
    assert {name: line["status"] for name, line in found.items()} == {
        name: "failed" if name in ways else "ok" for name in found
    }
    by_way = {way: found[name] for name, way in ways.items()}
    assert "is empty" in by_way["empty"]["error"]
    assert "give its password" in by_way["encrypted"]["error"]
    lost = by_way["lost page"]["document"]["pages"]
    assert [page["status"] == "failed" for page in lost] == [False, False, True, False, False]
    assert "page 3" in lost[2]["error"]


def test_the_summary_counts_them(broken: tuple[Run, dict[str, str], Path]) -> None:
    summary = summarise(broken[0])
    assert (summary.documents, summary.done, summary.document_statuses) == (10, 10, {"failed": 8, "ok": 2})
    assert sum(summary.errors.values()) == 8
    assert summary.errors["is empty"] == 1
    assert len(summary.failed) == 8
    assert summary.tokens > 0
    assert summary.seconds > 0


def test_documents_files_are_written_but_of_those_that_cannot_be_had(broken: tuple[Run, dict[str, str], Path]) -> None:
    _, ways, out = broken
    wanted = {name for name in results(out) if ways.get(name) in (None, "lost page")}
    assert {path.stem for path in (out / "documents").glob("*.md")} == {Path(name).stem for name in wanted}


@pytest.mark.parametrize(("rate", "status"), [(0.1, "failed"), (0.2, "incomplete"), (1.0, "incomplete")])
def test_the_rate_of_failed_pages_marks_the_document(
    tmp_path: Path, pile_checkpoint: Path, rate: float, status: str
) -> None:
    ways = pile(tmp_path / "pile", 8, seed=1, longest=1, broken=1)
    (lost,) = (name for name, way in ways.items() if way == "lost page")
    source = str(tmp_path / "pile" / lost)
    worker_of([source], tmp_path / "out", pile_checkpoint, max_page_error_rate=rate).work()
    assert results(tmp_path / "out")[lost]["status"] == status


def test_long_documents_are_whole_and_in_order(tmp_path: Path, pile_checkpoint: Path) -> None:
    (tmp_path / "long.pdf").write_bytes(many(HEAD_PAGES + 3))
    worker_of([str(tmp_path / "long.pdf")], tmp_path / "out", pile_checkpoint).work()
    (line,) = results(tmp_path / "out").values()
    opened = [page for page in open_pages(tmp_path / "long.pdf", dpi=36) if isinstance(page, Page)]
    assert [page["size"] for page in line["document"]["pages"]] == [list(page.image.size) for page in opened]
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 2


def test_an_error_nobody_thought_of_costs_its_document(
    tmp_path: Path, pile_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, width in (("a", 70), ("b", 77), ("c", 70)):
        Image.new("RGB", (width, 70), "gray").save(tmp_path / f"{name}.png")
    tell = Teller.page

    def fragile(self: Teller, page: Any, *more: Any) -> Any:
        if page.image.width == 77:
            raise ZeroDivisionError("nobody thought of it")
        return tell(self, page, *more)

    monkeypatch.setattr(Teller, "page", fragile)
    sources = [str(tmp_path / f"{name}.png") for name in "abc"]
    worker_of(sources, tmp_path / "out", pile_checkpoint).work()
    found = results(tmp_path / "out")
    assert {name: line["status"] for name, line in found.items()} == {"a.png": "ok", "b.png": "failed", "c.png": "ok"}
    assert found["b.png"]["error"] == "ZeroDivisionError: nobody thought of it"


def test_a_checkpoint_that_fails_stops_the_worker_and_frees_the_item(
    tmp_path: Path, pile_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (70, 70), "gray").save(tmp_path / "a.png")
    worker = worker_of([str(tmp_path / "a.png")], tmp_path / "out", pile_checkpoint)

    def fails(*_: Any, **__: Any) -> None:
        raise CheckpointError("the model computed NaN")

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "read", fails)
        with pytest.raises(CheckpointError):
            worker.work()
    worker.work()
    assert results(tmp_path / "out")["a.png"]["status"] == "ok"


def deadly(item: Item, here: Here) -> Found:
    """Reads, in a process of its own, but for document 1, which kills it."""
    if list(item.documents) == [1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return read_alone(item, here)


@pytest.mark.slow
def test_a_document_that_kills_its_reader_costs_itself(tmp_path: Path, pile_checkpoint: Path) -> None:
    sources = [str(tmp_path / f"{number}.png") for number in range(2)]
    for source in sources:
        Image.new("RGB", (70, 70), "gray").save(source)
    run = worker_of(sources, tmp_path / "out", pile_checkpoint).run
    group = Item("000000", "group", 0, [0, 1])
    found = read_isolated(run, group, Here(str(tmp_path / "out")), deadly)
    assert [len(line["results"]) for line in found.lines] == [1, 0]
    assert "the process that read it died" in found.lines[1]["error"]


def test_recompute_begins_again(tmp_path: Path, pile_checkpoint: Path) -> None:
    pile(tmp_path / "pile", 3, seed=6, longest=2)
    quiet_run(tmp_path / "pile", tmp_path / "quiet", pile_checkpoint)
    first = quiet_run(tmp_path / "pile", tmp_path / "out", pile_checkpoint)
    (tmp_path / "out" / "documents" / "left over.md").write_text("old")
    again = begin(first.arguments, str(tmp_path / "out"), first.settings, recompute=True)
    assert again.id != first.id
    assert len(list(again.pending())) == again.groups
    Worker(again, Here(str(tmp_path / "out"))).work()
    assert merged(tmp_path / "out") == merged(tmp_path / "quiet")


def test_workers_go_where_the_run_is_begun_again(tmp_path: Path, pile_checkpoint: Path) -> None:
    Image.new("RGB", (70, 70), "gray").save(tmp_path / "a.png")
    worker = worker_of([str(tmp_path / "a.png")], tmp_path / "out", pile_checkpoint)
    begin([str(tmp_path / "a.png")], str(tmp_path / "out"), worker.run.settings, recompute=True)
    with pytest.raises(OutputError, match="begun this run again"):
        worker.work()


def test_the_folder_may_be_anywhere_that_fsspec_reaches(tmp_path: Path, pile_checkpoint: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    pile(tmp_path / "pile", 4, seed=5, longest=2)
    quiet_run(tmp_path / "pile", tmp_path / "out", pile_checkpoint)
    memory, root = fsspec.filesystem("memory"), f"/{secrets.token_hex(4)}"
    memory.put(str(tmp_path / "pile"), f"{root}/pile", recursive=True)
    run = begin([str(tmp_path / "pile")], f"memory:/{root}/out", settings(pile_checkpoint))
    Worker(run, Here(f"memory:/{root}/out")).work()
    memory.get(f"{root}/out", str(tmp_path / "remote"), recursive=True)
    assert merged(tmp_path / "remote") == merged(tmp_path / "out")
    there = begin([f"memory:/{root}/pile"], str(tmp_path / "from_there"), settings(pile_checkpoint))
    Worker(there, Here(str(tmp_path / "from_there"))).work()
    here, far = results(tmp_path / "out"), results(tmp_path / "from_there")
    assert far.keys() == here.keys()
    assert [line["status"] for line in far.values()] == [line["status"] for line in here.values()]
    assert json.dumps(far).count("memory://") > 4
