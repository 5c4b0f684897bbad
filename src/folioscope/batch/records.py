"""Page results as records, made so that two runs' bytes are equal.

Times are left out, and probabilities rounded: the last digits of a sum depend on how many threads a machine has.
"""

from __future__ import annotations

from typing import Any

from folioscope import records
from folioscope.types import PageResult

DIGITS = 4
PROBABILITIES = ("confidence", "coverage")


def page_record(page: PageResult) -> dict[str, Any]:
    """The page's record, the same bytes in every run."""
    return _settled(records.page_record(page))


def _settled(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _settled(inner, key) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_settled(inner, name) for inner in value]
    if name == "seconds":
        return 0.0
    return round(value, DIGITS) if name in PROBABILITIES and value is not None else value
