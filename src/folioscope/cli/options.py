"""Options that are fields of a dataclass: its docstring and its defaults say it, once."""

from __future__ import annotations

from typing import Any

import typer

from folioscope.docstrings import described
from folioscope.types import GenerateOptions


def generate_option(name: str, **settings: Any) -> Any:
    """The option for a field of GenerateOptions, with the help that its docstring gives."""
    return typer.Option(help=described(GenerateOptions, name), **settings)
