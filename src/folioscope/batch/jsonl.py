"""Values as lines of JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def lines_of(values: Iterable[Any]) -> bytes:
    """JSON, one value a line. What UTF-8 cannot hold, an undecodable file name, say, is escaped."""
    lines = (json.dumps(value, ensure_ascii=False) for value in values)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def values_in(content: bytes | None) -> list[Any]:
    """The values of such lines; none of a file that is not there."""
    return [json.loads(line) for line in (content or b"").splitlines()]
