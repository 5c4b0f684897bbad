"""Every kind of file that may stand on either side, and what is said of one that may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from folioscope.evaluate.intake import Text, contents_of
from folioscope.export import save
from folioscope.types import Document, InputError, PageResult

FACT = {"pdf": "a.pdf", "page": 1, "id": "1", "type": "present", "text": "x"}


def document(source: str, *pages: str) -> Document:
    return Document(
        source, tuple(PageResult(number, source, (9, 9), markdown=text) for number, text in enumerate(pages, 1))
    )


def texts(path: Path) -> list[Text]:
    return contents_of(path).texts


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def test_texts_by_their_names(tmp_path: Path) -> None:
    files = {
        "a.md": "A",
        "sub/b.txt": "B",
        "c_pg2.md": "C2",
        "c_pg10_repeat3.md": "C10",
        ".hidden/d.md": "D",
        "e.png": "",
    }
    write(tmp_path, files)
    assert texts(tmp_path) == [Text("a", None, "A"), Text("c", 10, "C10"), Text("c", 2, "C2"), Text("sub/b", None, "B")]
    assert texts(tmp_path / "c_pg2.md") == [Text("c", 2, "C2")]


def test_a_document_has_pages_and_is_preferred_to_its_markdown(tmp_path: Path) -> None:
    save(document("scans/letter.v2.pdf", "one", "", "three"), tmp_path, ["md", "json"])
    assert texts(tmp_path) == [
        Text("scans/letter.v2", page, text) for page, text in ((1, "one"), (2, ""), (3, "three"))
    ]


def test_results_of_a_batch(tmp_path: Path) -> None:
    save(document("s/x.pdf", "one"), tmp_path / "docs", ["json"])
    one = json.loads((tmp_path / "docs" / "x.json").read_text())
    lines = [{"source": "s/x.pdf", "status": "ok", "document": one}, {"source": "s/y.pdf", "document": None}]
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    write(
        tmp_path / "run",
        {"manifest.json": {}, "results/0.jsonl": content, "documents/x.md": "other", "summary.json": {}},
    )
    assert texts(tmp_path / "run") == texts(tmp_path / "run" / "results" / "0.jsonl") == [Text("s/x", 1, "one")]


def test_pages_as_training_has_them(tmp_path: Path) -> None:
    grounded = "<|ref|>title<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\n# Notes"
    lines = [{"image": "a.png", "text": "plain"}, {"image": "b.png", "markdown": grounded}]
    write(tmp_path, {"pages.jsonl": "\n".join(map(json.dumps, lines)) + "\n\n"})
    assert texts(tmp_path) == [Text("a", None, "plain"), Text("b", None, "# Notes")]


def test_facts_by_their_file(tmp_path: Path) -> None:
    write(tmp_path, {"b.jsonl": FACT, "sub/a.jsonl": {**FACT, "id": "2"}})
    contents = contents_of(tmp_path)
    assert {name: [fact.id for fact in some] for name, some in contents.facts.items()} == {
        "b.jsonl": ["1"],
        "sub/a.jsonl": ["2"],
    }
    assert contents.texts == []


def block(number: int, category: str, order: int | None, **more: Any) -> dict[str, Any]:
    return {"anno_id": number, "category_type": category, "order": order, "ignore": False, **more}


def test_omnidocbench(tmp_path: Path) -> None:
    page = {
        "page_info": {"image_path": "images/p.1.jpg"},
        "layout_dets": [
            block(1, "text_block", 3, text="goes on"),
            block(2, "title", 1, text="Title"),
            block(3, "table", 4, html="<table><tr><td>1</td></tr></table>", latex="no"),
            block(4, "header", None, text="not measured"),
            block(5, "text_block", 2, text="begins and "),
            block(6, "text_block", 5, text="not to be read", ignore=True),
            block(7, "equation_isolated", 6, latex="$$x$$"),
        ],
        "extra": {"relation": [{"source_anno_id": 5, "target_anno_id": 1, "relation_type": "truncated"}]},
    }
    write(tmp_path, {"OmniDocBench.json": [page]})
    expected = "Title\n\nbegins and goes on\n\n<table><tr><td>1</td></tr></table>\n\n$$x$$"
    assert texts(tmp_path) == [Text("images/p.1", None, expected)]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, ": holds nothing to compare; files are .json, .jsonl, .md, .mmd, .txt"),
    ({"x.png": "", "e.jsonl": "\n"}, ": holds nothing to compare"),
    ({"x.json": "{"}, "x.json: no JSON (Expecting"),
    ({"x.json": {"schema": "other/1"}}, "x.json: no document of `folioscope read --format json`"),
    ({"x.json": []}, "x.json: no document of"),
    ({"x.json": [{"page_info": {}}]}, "x.json, page 1: not as OmniDocBench has pages (KeyError('layout_dets'))"),
    ({"f.jsonl": json.dumps(FACT) + "\n\n{no json}\n"}, "f.jsonl, line 3: no JSON (Expecting property name"),
    ({"f.jsonl": "[1]"}, "f.jsonl, line 1: no object of JSON"),
    ({"f.jsonl": {"pdf": "a.pdf"}}, "f.jsonl, line 1: neither a fact (type), nor a result of batch (document)"),
    ({"f.jsonl": {"document": {"schema": 1}}}, "f.jsonl, line 1: no document of"),
    ({"f.jsonl": {**FACT, "text": ""}}, "f.jsonl, line 1: text is empty"),
    ({"f.jsonl": FACT, "g.jsonl": FACT}, "g.jsonl: the id '1' is that of a fact in f.jsonl, too"),
]


@pytest.mark.parametrize(("files", "message"), REFUSED)
def test_what_cannot_be_read_is_one_line(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        contents_of(write(tmp_path, files))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such file or folder"):
        contents_of(tmp_path / "nowhere")
    (tmp_path / "x.md").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match=r"x.md: not readable as UTF-8 text"):
        contents_of(tmp_path)
    with pytest.raises(InputError, match=r"x.png: files are .json"):
        contents_of(write(tmp_path, {"x.png": ""}) / "x.png")
