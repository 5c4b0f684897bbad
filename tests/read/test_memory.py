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

reader = Reader.from_pretrained(sys.argv[1])
document = reader.read(sys.argv[2], options=None, batch_size=4)
assert {page.status for page in document} == {"ok"}, {page.status for page in document}
if len(sys.argv) > 3:
    document.save(sys.argv[3], ["md", "json", "overlay"])
print(len(document.pages), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""

PAGE_MEGABYTES = 5.8
"""A picture of a letter-sized page at 144 dpi."""


def peak(model: Path, pages: int, folder: Path, save: bool) -> int:
    """Megabytes that reading so many letter-sized pages takes at most, whole process."""
    source = folder / f"{pages}.pdf"
    source.write_bytes(sheets(pages, size="612 792"))
    arguments = [str(model), str(source), *([str(folder / f"out{pages}")] if save else [])]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    count, megabytes = map(int, done.stdout.split())
    assert count == pages
    return megabytes


def test_results_hold_no_pictures(tmp_path: Path) -> None:
    model = scripted_checkpoint(tmp_path)
    few, many = (peak(model, pages, tmp_path, save=True) for pages in (4, 40))
    assert many - few < 36 * PAGE_MEGABYTES / 3


@pytest.mark.slow
def test_hundreds_of_pages(tmp_path: Path) -> None:
    """Measured: 20 pages 355 MB, 300 pages 371 MB."""
    model = scripted_checkpoint(tmp_path)
    few, many = (peak(model, pages, tmp_path, save=False) for pages in (20, 300))
    assert many - few < 60
