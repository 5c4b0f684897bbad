"""Facts about pages, each of which holds or does not: olmOCR-bench's unit tests, in its JSON Lines.

    {"pdf": "letters/12.pdf", "page": 1, "id": "12_end", "type": "present", "text": "Yours sincerely"}

https://github.com/allenai/olmocr/blob/dc802aabe0eac79a552749455cb5fb0aa8c69684/olmocr/bench/tests.py

Fields, defaults, normalisation and thresholds are those of the benchmark, but for math; see there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

from folioscope.evaluate.facts.baseline import Baseline
from folioscope.evaluate.facts.fact import Fact
from folioscope.evaluate.facts.marks import Footnote, Format
from folioscope.evaluate.facts.math import Formula
from folioscope.evaluate.facts.table import TableFact
from folioscope.evaluate.facts.text import Order, Presence
from folioscope.types import InputError

KINDS: Mapping[str, type[Fact]] = {
    "present": Presence,
    "absent": Presence,
    "order": Order,
    "table": TableFact,
    "math": Formula,
    "baseline": Baseline,
    "format": Format,
    "footnote": Footnote,
}
"""By `type`."""


def fact_of(values: Mapping[str, Any], where: str) -> Fact:
    """The fact that an object of JSON says.

    Raises:
        InputError: It is none; the message begins with `where`.
    """
    kind = KINDS.get(str(values.get("type")))
    if kind is None:
        raise InputError(f"{where}: type {values.get('type')!r}; known are {', '.join(KINDS)}")
    wrong = _misfit(kind, values)
    if wrong is None:
        fact = kind(**{name: _default(kind, name) if value is None else value for name, value in values.items()})
        wrong = fact.invalid()
        if wrong is None:
            return fact
    raise InputError(f"{where}: {wrong}")


def _misfit(kind: type[Fact], values: Mapping[str, Any]) -> str | None:
    """What of the object's fields cannot be a fact's, or None."""
    hints = get_type_hints(kind)
    required = [field.name for field in fields(kind) if field.default is MISSING]
    missing = next((name for name in required if values.get(name) is None), None)
    if missing:
        return f"has no {missing}"
    unknown = next((name for name in values if name not in hints), None)
    if unknown:
        return f"{unknown} is no field of {values['type']}; fields are {', '.join(hints)}"
    wrong = next((name for name, value in values.items() if not _fits(value, hints[name])), None)
    return f"{wrong} is {values[wrong]!r}" if wrong else None


def _fits(value: Any, hint: Any) -> bool:
    return value is None or type(value) in (get_args(hint) or (hint,))


def _default(kind: type[Fact], name: str) -> Any:
    return next(field.default for field in fields(kind) if field.name == name)
