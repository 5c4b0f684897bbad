"""What is written as JSON is what the published schema says, no more and no less."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any, get_args

import pytest
from PIL import Image

from conftest import ROOT
from folioscope.export import document_files
from folioscope.export.json_document import SCHEMA, document_schema
from folioscope.types import Attempt, Document, Doubt, Line, PageResult, Region, Status, Step, Usage

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")

BOX = (10.0, 20.0, 30.5, 40.0)
FIGURE = Region("image", (BOX, BOX), confidence=0.5, boxes_points=(BOX,), figure=0)
WORDS = Region("text", (BOX,), "a\nb", 0.9, lines=(Line("a", 0.9, BOX), Line("b")))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every part of a schema that says what an object holds."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from objects(inner)


@pytest.fixture(scope="module")
def strict() -> dict[str, Any]:
    """The schema with all that it does not name forbidden, which the published one leaves open for later."""
    schema = copy.deepcopy(document_schema())
    for part in objects(schema):
        part["additionalProperties"] = False
    return schema


def page(status: Status) -> PageResult:
    attempts = tuple(Attempt(step, "stop", get_args(Doubt), 0.5, None, 3) for step in get_args(Step))
    return PageResult(
        *(1, "a.pdf", (100, 50), status, "raw", "text ![](images/0.jpg)", (FIGURE, WORDS), 0.5, Usage(1, 2, 3, 4.5)),
        *((72.0, 36.0), "broken" if status == "failed" else None, 0.25, attempts, lambda: Image.new("RGB", (100, 50))),
    )


def as_json(*pages: PageResult) -> dict[str, Any]:
    return json.loads(document_files(Document("a.pdf", pages), ["json"], "a")[0].content())


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return as_json(*map(page, get_args(Status)), PageResult(9, "a.pdf", (0, 0), "failed", error="gone"))


def test_every_status_step_and_doubt_is_in_the_schema(content: dict[str, Any], strict: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(document_schema())
    jsonschema.validate(content, strict)
    jsonschema.validate(as_json(), strict)
    assert content["schema"] == SCHEMA == document_schema()["properties"]["schema"]["const"]


def test_all_that_is_written_is_required(content: dict[str, Any], strict: dict[str, Any]) -> None:
    for part in objects(strict):
        assert set(part["required"]) == set(part["properties"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.update(schema="folioscope.document/2"),
        lambda content: content.pop("source"),
        lambda content: content["pages"][0].update(status="fine"),
        lambda content: content["pages"][0].update(confidence=1.5),
        lambda content: content["pages"][0].update(size=[1, 2, 3]),
        lambda content: content["pages"][0]["regions"][0].update(box=[1, 2, 3]),
        lambda content: content["pages"][0]["regions"][1]["lines"][0].pop("box"),
        lambda content: content["pages"][0]["attempts"][0].update(step="guess"),
    ],
)
def test_what_is_otherwise_is_refused(content: dict[str, Any], spoil: Callable[[dict[str, Any]], object]) -> None:
    spoiled = copy.deepcopy(content)
    spoil(spoiled)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoiled, document_schema())


def test_the_documentation_says_where_it_is() -> None:
    text = (ROOT / "docs" / "read.md").read_text(encoding="utf-8")
    assert SCHEMA in text
    assert "src/folioscope/export/document.schema.json" in text
    assert resources.files("folioscope.export").joinpath("document.schema.json").is_file()
