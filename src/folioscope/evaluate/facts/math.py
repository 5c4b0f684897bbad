"""Facts of formulas: one is somewhere on the page.

olmOCR-bench renders both formulas with KaTeX in a browser, and looks for the one's characters, beside the same
neighbours, in the other. Here their LaTeX is compared, made alike: spaces, sizes, fonts and needless braces dropped,
names that look the same made one, subscripts put before superscripts. The fact holds if the page has a formula that
contains the wanted one. Formulas that look the same, and are written in ways that this does not make alike, are missed.
Measured: on 147 pairs, 20 formulas and what stands for them on a page, in other spellings, within others, changed or
cut, both say the same (`tests/parity/test_olmocr_bench_math.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from folioscope.evaluate.facts.fact import Fact, shown
from folioscope.evaluate.facts.latex import comparable

NOTE = "math facts: LaTeX compared, not rendered formulas as the benchmark does"

_DELIMITERS = (r"\\\((.+?)\\\)", r"\\\[(.+?)\\\]"), (r"\$\$(.+?)\$\$", r"\$(.+?)\$")


@dataclass(frozen=True, kw_only=True)
class Formula(Fact):
    r"""A formula is on the page, between $, $$, \( or \[.

    Attributes:
        math: Its LaTeX.
        ignore_dollar_delimited: Look between \( and \[ only.
    """

    math: str
    ignore_dollar_delimited: bool = False

    def invalid(self) -> str | None:
        return super().invalid() or (None if self.math.strip() else "math is empty")

    def failure(self, text: str) -> str | None:
        wanted = comparable(self.math)
        for formula in self._formulas(text):
            if formula == self.math or (wanted and f" {wanted} " in f" {comparable(formula)} "):
                return None
        return f"no formula {shown(self.math)}"

    def _formulas(self, text: str) -> Iterator[str]:
        slashes, dollars = _DELIMITERS
        for pattern in slashes if self.ignore_dollar_delimited else slashes + dollars:
            yield from map(str.strip, re.findall(pattern, text, re.DOTALL))
            text = re.sub(pattern, "", text, flags=re.DOTALL)
