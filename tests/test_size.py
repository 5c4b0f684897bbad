"""The house's size: small files, small functions, and no drawer for everything."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median, quantiles

import pytest

from conftest import ROOT

SOURCE = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
KERNELS = sorted((ROOT / "src").rglob("*.[ch]"))

FILE_LINES, FUNCTION_LINES, MEDIAN_LINES, P90_LINES = 300, 80, 12, 40
DRAWERS = {"utils", "util", "common", "helpers", "helper", "base", "misc"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> dict[str, int]:
    """`file:line name` → lines, docstring included, for every function at any depth."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)]
    return {f"{name(path)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1 for node in nodes}


@pytest.fixture(scope="module")
def source_functions() -> dict[str, int]:
    return {key: lines for path in SOURCE for key, lines in functions(path).items()}


def test_files_are_short() -> None:
    lines = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE + TESTS + KERNELS}
    assert {file: count for file, count in lines.items() if count > FILE_LINES} == {}


def test_no_function_is_long() -> None:
    lines = {key: count for path in SOURCE + TESTS for key, count in functions(path).items()}
    assert {key: count for key, count in lines.items() if count > FUNCTION_LINES} == {}


def test_most_functions_are_short(source_functions: dict[str, int]) -> None:
    lines = list(source_functions.values())
    longest = sorted(source_functions.items(), key=lambda item: -item[1])[:20]
    assert median(lines) <= MEDIAN_LINES, longest
    assert quantiles(lines, n=10, method="inclusive")[-1] <= P90_LINES, longest


def test_no_file_is_a_drawer() -> None:
    assert [name(path) for path in SOURCE + TESTS if path.stem in DRAWERS or path.parent.name in DRAWERS] == []


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by their names alone."""
    names = [path.name for path in TESTS]
    assert sorted(names) == sorted(set(names))
