"""Pages as records: everything but the picture, and nothing that differs between machines."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from PIL import Image

from folioscope.batch.finish import SCHEMA
from folioscope.batch.jsonl import lines_of, values_in
from folioscope.batch.records import page_record
from folioscope.export.json_document import document_schema
from folioscope.records import page_of
from folioscope.types import Attempt, Line, PageResult, Region, Usage
from piles import pile, quiet_run, results

PAGE = PageResult(
    number=3,
    source="a b.pdf",
    size=(100, 50),
    status="retried",
    raw="<|ref|>x<|/ref|>\u2028é",
    markdown="é",
    regions=(
        Region("text", ((0.5, 1.25, 3.0, 4.0),), "é", 0.5, ((1.0, 2.0, 3.0, 4.0),), lines=(Line("é", 0.25),)),
        Region("image", figure=1),
    ),
    confidence=0.75,
    usage=Usage(1, 2, 3),
    points=(50.0, 25.0),
    coverage=0.5,
    attempts=(Attempt("first", doubts=("loop",)), Attempt("ngram", confidence=0.75, kept=True)),
)


def test_a_page_comes_back_as_it_was() -> None:
    record = json.loads(json.dumps(page_record(replace(PAGE, pixels=lambda: Image.new("RGB", (1, 1))))))
    assert page_of(record) == PAGE
    failed = PageResult(1, "b", (0, 0), "failed", error="gone")
    assert page_of(json.loads(json.dumps(page_record(failed)))) == failed


def test_times_and_last_digits_are_left_out() -> None:
    one = replace(PAGE, confidence=0.123456, usage=Usage(1, 2, 3, seconds=4.0))
    other = replace(PAGE, confidence=0.123449999, usage=Usage(1, 2, 3, seconds=5.0))
    assert page_record(one) == page_record(replace(other, confidence=0.12347)) != page_record(other)
    assert page_record(one)["usage"]["seconds"] == 0


def test_lines_hold_any_text() -> None:
    values = [{"name": "caf\udce9\n\u2028"}, [1, None]]
    assert values_in(lines_of(values)) == values
    assert values_in(None) == []


def test_every_line_of_results_is_as_its_schema_says(tmp_path: Path, pile_checkpoint: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    referencing = pytest.importorskip("referencing")
    pile(tmp_path / "pile", 8, seed=3, longest=3, broken=0.5)
    quiet_run(tmp_path / "pile", tmp_path / "out", pile_checkpoint)
    schema = json.loads((resources.files("folioscope.batch") / "result.schema.json").read_text(encoding="utf-8"))
    parts = [(part["$id"], referencing.Resource.from_contents(part)) for part in (document_schema(), schema)]
    validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry().with_resources(parts))
    lines = results(tmp_path / "out").values()
    for line in lines:
        validator.validate(line)
        assert line["schema"] == SCHEMA == schema["properties"]["schema"]["const"]
    assert {line["status"] for line in lines} >= {"ok", "failed"}
    assert {line["document"] is None for line in lines} == {True, False}
    assert not validator.is_valid({**next(iter(lines)), "status": "fine"})
