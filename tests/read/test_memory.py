"""Memory does not grow with the pages of a document."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from scripted import scripted_checkpoint, sheets

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say how much memory was used")

PROGRAM = """
import resource, sys
sys.path.insert(0, "tests")
from folioscope import Reader

way, model, source, out, dpi = *sys.argv[1:5], float(sys.argv[5])
if way == "batch":
    from folioscope.batch.begin import begin
    from folioscope.batch.settings import Here, Settings
    from folioscope.batch.summary import summarise
    from folioscope.batch.worker import Worker

    run = begin([source], out, Settings(model=model, dpi=dpi))
    Worker(run, Here(out)).work()
    statuses = summarise(run).as_json()["page_statuses"]
else:
    reader = Reader.from_pretrained(model)
    if way == "stream":
        results = [event.result for event in reader.stream(source, dpi=dpi) if event.result]
    else:
        results = reader.read(source, batch_size=4, dpi=dpi).pages
    statuses = {status: sum(page.status == status for page in results) for status in {page.status for page in results}}
    if way == "save":
        from folioscope.types import Document

        Document(source, tuple(results)).save(out, ["md", "json", "overlay"])
assert list(statuses) == ["ok"], statuses
print(statuses["ok"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""

PAGE_MEGABYTES = 5.8
"""A picture of a letter-sized page at 144 dpi; at 72 dpi, a quarter."""


def peak(model: Path, pages: int, folder: Path, way: str, dpi: int = 144) -> int:
    """Megabytes that reading so many letter-sized pages takes at most, whole process."""
    source = folder / f"{pages}.pdf"
    source.write_bytes(sheets(pages, size="612 792"))
    arguments = [way, str(model), str(source), str(folder / f"out{pages}"), str(dpi)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count, megabytes = map(int, done.stdout.split())
    assert count == pages
    return megabytes


def test_results_hold_no_pictures(tmp_path: Path) -> None:
    model = scripted_checkpoint(tmp_path)
    few, many = (peak(model, pages, tmp_path, "save") for pages in (4, 40))
    assert many - few < 36 * PAGE_MEGABYTES / 3


@pytest.mark.slow
@pytest.mark.parametrize("way", ["batch", "stream", "read"])
def test_two_thousand_pages(tmp_path: Path, way: str) -> None:
    """What was measured is in docs/read.md. Their pictures would take 2,900 MB."""
    model = scripted_checkpoint(tmp_path)
    few, many = (peak(model, pages, tmp_path, way, dpi=72) for pages in (20, 2000))
    print(f"{way}: 20 pages {few} MB, 2000 pages {many} MB")
    assert many - few < 60
