"""What a class's docstring says about its fields, for those who offer them again: commands, HTTP routes."""

from __future__ import annotations

import inspect
import re


def described(kind: type, name: str) -> str:
    """What the "Attributes" of a class's docstring say about one of them, in one line; empty if nothing."""
    found = re.search(rf"^    {name}: (.*(?:\n     +.*)*)", inspect.getdoc(kind) or "", re.MULTILINE)
    return " ".join(found[1].split()) if found else ""
