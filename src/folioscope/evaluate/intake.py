"""Files → the pages that were read, and those that should have been.

A page or a document is known by a name, the path it comes from without suffix, and a number. What can be read:

| file | what |
|---|---|
| `.md`, `.mmd`, `.txt` | a document; `x_pg3.md` is page 3 of `x`, `x_pg3_repeat2.md` a second reading of it |
| `.json` | a document as `folioscope read --format json` writes it; a truth may be `OmniDocBench.json` |
| `.jsonl` | results of `folioscope batch`; a truth may have facts, or pages as `folioscope train` takes them |
| a folder | of these, at any depth; of `x.json` and `x.md` the first; of a folder of `folioscope batch` its results |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from folioscope.evaluate.facts import fact_of
from folioscope.evaluate.facts.fact import Fact
from folioscope.evaluate.omnidocbench import is_omnidocbench, omnidocbench_pages
from folioscope.types import InputError

SUFFIXES = (".json", ".jsonl", ".md", ".mmd", ".txt")
"""In the order in which files of one name are preferred."""

SCHEMA_OF_DOCUMENTS = "folioscope.document/"

_PAGE = re.compile(r"(.+?)_pg(\d+)(?:_repeat\d+)?")


@dataclass(frozen=True)
class Text:
    """Markdown of a page, or, where `page` is None, of a document as a whole."""

    name: str
    page: int | None
    text: str


@dataclass(frozen=True)
class Contents:
    """What files hold: texts, and facts by the name of the file that they are in."""

    texts: list[Text] = field(default_factory=list)
    facts: dict[str, list[Fact]] = field(default_factory=dict)


def contents_of(path: Path, *, facts_only: bool = False) -> Contents:
    """Everything in a file or a folder.

    Args:
        facts_only: Of a folder that has `.jsonl` files, nothing else: those of a benchmark, say, that holds what was
            read as well.

    Raises:
        InputError: Nothing is there, or a file, or a line of one, is none of those above; says which.
    """
    contents = Contents()
    lines = sorted(path.glob("*.jsonl")) if facts_only else []
    for file in lines or _files(path):
        name = file.relative_to(path if path.is_dir() else path.parent).as_posix()
        if file.suffix == ".jsonl":
            _add_lines(contents, file, name)
        elif file.suffix == ".json":
            contents.texts.extend(_json_texts(file, name))
        else:
            contents.texts.append(_named(name, _read(file)))
    if not contents.texts and not contents.facts:
        raise InputError(f"{path}: holds nothing to compare; files are {', '.join(SUFFIXES)}")
    _check_ids(contents.facts)
    return contents


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path}: files are {', '.join(SUFFIXES)}")
        return [path]
    if (path / "manifest.json").exists() and (path / "results").is_dir():
        path = path / "results"
    found: dict[Path, Path] = {}
    for file in sorted(path.rglob("*"), key=lambda file: (file.parent, file.stem, file.suffix)):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.suffix in SUFFIXES and file.is_file() and not hidden:
            found.setdefault(file if file.suffix == ".jsonl" else file.with_suffix(""), file)
    return list(found.values())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not readable as UTF-8 text ({error})") from error


def _named(name: str, text: str) -> Text:
    stem = PurePosixPath(name).with_suffix("").as_posix()
    paged = _PAGE.fullmatch(stem)
    return Text(paged[1], int(paged[2]), text) if paged else Text(stem, None, text)


def _json_texts(file: Path, name: str) -> Iterator[Text]:
    try:
        value = json.loads(_read(file))
    except json.JSONDecodeError as error:
        raise InputError(f"{file}: no JSON ({error})") from error
    if is_omnidocbench(value):
        for source, text in omnidocbench_pages(value, str(file)):
            yield Text(_without_suffix(source), None, text)
    else:
        yield from _document_texts(value, str(file), name)


def _document_texts(value: Any, where: str, name: str) -> Iterator[Text]:
    """The pages of a document as `folioscope.export` writes it; those that failed were not read."""
    try:
        if not value["schema"].startswith(SCHEMA_OF_DOCUMENTS):
            raise ValueError
        named = name if value["source"] == "-" else value["source"]
        pages = [
            Text(_without_suffix(named), int(page["number"]), str(page["markdown"]))
            for page in value["pages"]
            if page["status"] != "failed"
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: no document of `folioscope read --format json`") from error
    yield from pages


def _without_suffix(source: str) -> str:
    return re.sub(r"\.[^./\\]*$", "", source.replace("\\", "/"))


def _add_lines(contents: Contents, file: Path, name: str) -> None:
    for number, line in enumerate(_read(file).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: no JSON ({error.msg}, column {error.colno})") from error
        if not isinstance(value, dict):
            raise InputError(f"{where}: no object of JSON")
        if "type" in value:
            contents.facts.setdefault(name, []).append(fact_of(value, where))
        else:
            contents.texts.extend(_line_texts(value, where))


def _line_texts(value: Mapping[str, Any], where: str) -> Iterator[Text]:
    if "document" in value:
        if value["document"] is not None:  # what could not be opened has no pages
            yield from _document_texts(value["document"], where, "")
    elif isinstance(value.get("image"), str) and isinstance(value.get("text", value.get("markdown")), str):
        yield Text(
            _without_suffix(value["image"]), None, value["text"] if "text" in value else _clean(value["markdown"])
        )
    else:
        raise InputError(
            f"{where}: neither a fact (type), nor a result of batch (document), nor a page (image and text)"
        )


def _clean(grounded: str) -> str:
    """Markdown without the marks that say where its blocks are."""
    from folioscope.grounding import parse

    return parse(grounded, (1, 1), words_in_refs=False).markdown


def _check_ids(facts: Mapping[str, list[Fact]]) -> None:
    seen: dict[str, str] = {}
    for file, some in facts.items():
        for fact in some:
            if fact.id in seen:
                raise InputError(f"{file}: the id {fact.id!r} is that of a fact in {seen[fact.id]}, too")
            seen[fact.id] = file
