"""Who may import whom: inner modules never import outer ones, and modules of one layer are strangers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

LAYERS = (
    ("types",),
    ("config", "docstrings", "masks", "records"),
    (
        *("model", "pages", "views", "tokens", "grounding", "sampling", "repetition", "ink", "storage", "placement"),
        "native",
    ),
    ("weights", "generate", "export", "hub", "vision"),
    ("quantize", "evaluate"),
    ("read", "segment"),
    ("processing", "pretrained"),
    ("serve", "train", "batch", "bench"),
    ("cli",),
)
"""Innermost first."""

EXCEPTIONS = {("types/document.py", "export")}
"""Document.save: users expect the verb on the document."""

LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
PACKAGE = "folioscope"
SOURCE = ROOT / "src" / PACKAGE


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that can run, at any depth; what stands under `if TYPE_CHECKING` cannot."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for node in child.orelse:
                yield node
                yield from runtime_nodes(node)
        else:
            yield child
            yield from runtime_nodes(child)


def imported(node: ast.AST) -> list[str]:
    """Dotted names an import statement may load: `from a import b` counts as a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def own_imports(source: str) -> set[str]:
    """Top-level modules of ours that `source` imports; the version is everybody's."""
    names = [name.split(".") for node in runtime_nodes(ast.parse(source)) for name in imported(node)]
    return {parts[1] if len(parts) > 1 else "" for parts in names if parts[0] == PACKAGE} - {"__version__"}


def may_import(importer: str, target: str) -> bool:
    return importer == target or LAYER_OF.get(target, len(LAYERS)) < LAYER_OF[importer]


def breaches(package: Path) -> set[tuple[str, str]]:
    """(file, imported module) for every import that points outward or sideways."""
    found = set()
    for path in package.rglob("*.py"):
        file = path.relative_to(package)
        importer = file.with_suffix("").parts[0]
        targets = own_imports(path.read_text(encoding="utf-8"))
        found |= {(file.as_posix(), target) for target in targets if not may_import(importer, target)}
    return found


LAYER_OF |= dict.fromkeys(("__init__", "__main__"), len(LAYERS))


def test_every_module_has_a_layer() -> None:
    modules = {path.relative_to(SOURCE).with_suffix("").parts[0] for path in SOURCE.rglob("*.py")}
    assert modules - LAYER_OF.keys() == set(), "add the module to LAYERS"


def test_imports_point_inward() -> None:
    assert breaches(SOURCE) == EXCEPTIONS


def test_the_model_knows_only_torch_and_its_config() -> None:
    files = sorted((SOURCE / "model").rglob("*.py"))
    imports = {path.name: own_imports(path.read_text(encoding="utf-8")) - {"model", "config"} for path in files}
    assert {name: outside for name, outside in imports.items() if outside} == {}


@pytest.mark.parametrize(
    ("file", "source", "target"),
    [
        ("config.py", "import folioscope.model.clip", "model"),
        ("pages.py", "from folioscope.views import tile", "views"),
        ("pages.py", "from folioscope import views", "views"),
        ("model/clip.py", "def f():\n    if True:\n        from folioscope import weights", "weights"),
        ("read.py", "from folioscope import Reader", "Reader"),
        ("read.py", "import folioscope", ""),
        ("hub.py", "if TYPE_CHECKING:\n    pass\nelse:\n    from folioscope.cli import main", "cli"),
    ],
)
def test_outward_imports_are_seen(tmp_path: Path, file: str, source: str, target: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert breaches(tmp_path) == {(file, target)}


@pytest.mark.parametrize(
    "source",
    [
        "from folioscope.model.clip import Clip",
        "from folioscope import __version__",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from folioscope.cli import main",
        "import torch, folioscope.types",
    ],
)
def test_inward_imports_pass(tmp_path: Path, source: str) -> None:
    (tmp_path / "weights.py").write_text(source)
    assert breaches(tmp_path) == set()
