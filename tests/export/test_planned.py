"""What a run will write is known before anything is read, and no two inputs write the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from folioscope.export import planned, save, stems_of
from folioscope.types import Document, InputError, PageResult


def test_planned_files_are_those_that_are_saved(tmp_path: Path) -> None:
    document = Document("a/letter.pdf", (PageResult(1, "a/letter.pdf", (9, 9), markdown="Hello"),))
    written = save(document, tmp_path, ["json", "md"], stem="mine")
    assert [path.name for path in written] == planned("mine", ["json", "md"]) == ["mine.json", "mine.md"]


def test_planned_refuses_unknown_formats() -> None:
    with pytest.raises(InputError, match=r"'docx'.*choose from md, json"):
        planned("letter", ["md", "docx"])


@pytest.mark.parametrize(
    ("sources", "stems"),
    [
        (["a/x.png", "b/y.pdf"], ["x", "y"]),
        (["a/x.png", "b/x.png", "x.pdf"], ["x", "x_2", "x_3"]),
        (["x.png", "b/x.png", "x_2.png"], ["x", "x_2", "x_2_2"]),
        (["x.png", "X.png"], ["x", "X_2"]),
        (["-", "stdin.png"], ["stdin", "stdin_2"]),
        ([], []),
    ],
)
def test_every_source_has_its_own_stem(sources: list[str], stems: list[str]) -> None:
    assert stems_of(sources) == stems
