"""Options that are fields of a dataclass: its docstring and its defaults say it, once."""

from __future__ import annotations

import inspect
import re
from typing import Any

import typer

from folioscope.types import GenerateOptions


def generate_option(name: str, **settings: Any) -> Any:
    """The option for a field of GenerateOptions, with the help that its docstring gives."""
    return typer.Option(help=described(GenerateOptions, name), **settings)


def described(kind: type, name: str) -> str:
    """What the "Attributes" of a class's docstring say about one of them, in one line."""
    found = re.search(rf"^    {name}: (.*(?:\n     +.*)*)", inspect.getdoc(kind) or "", re.MULTILINE)
    return " ".join(found[1].split()) if found else ""
