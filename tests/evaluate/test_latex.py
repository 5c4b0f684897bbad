"""Formulas that look the same are made the same, and others are not."""

from __future__ import annotations

from itertools import combinations

import pytest

from folioscope.evaluate.facts.latex import comparable

SAME = [
    (r"x^{2}", "x^2", "x ^ 2", r"{x}^{2}", r"x^{{2}}"),
    (r"\frac{1}{2}", r"\frac12", r"\dfrac{1}{2}", r"\frac 1 2"),
    (r"\sum_{i=1}^{n} x_i", r"\sum\limits^n_{i=1}x_{i}", r"\displaystyle\sum_{i=1}^n\, x_i"),
    (r"\left( a+b \right)'", "(a+b)'", r"(a+b)^{\prime}", r"\bigl(a+b\bigr)^\prime"),
    ("x'' + x", r"x^{\prime\prime} + x", r"{x}''+x"),
    (r"\max_\theta f", r"\mathrm{max}_{\theta} f", r"\operatorname{max}_\theta\ f"),
    (r"a \le b \to c", r"a\leq b\rightarrow c"),
    (r"\sqrt[3]{x+1}", r"\sqrt[3]{ x + 1 }"),
    (r"\hat{x}", r"\hat x"),
    (r"\{x \mid y\}", r"\lbrace x | y\rbrace"),
    (r"e^{\frac12}", r"e^\frac{1}{2}"),
    (r"\mathbf{v}", "v", r"{\bf v}"),
]


@pytest.mark.parametrize("formulas", SAME)
def test_the_same(formulas: tuple[str, ...]) -> None:
    assert len({comparable(formula) for formula in formulas}) == 1


def test_different_ones_stay_different() -> None:
    every = [comparable(formulas[0]) for formulas in SAME]
    every += map(comparable, ("x_2", "x^2_1", "x^{21}", r"\frac{1}{21}", r"\frac{2}{1}", "-x", r"\sin x", "x + 1"))
    assert all(every)
    assert all(one != other for one, other in combinations(every, 2))


@pytest.mark.parametrize("broken", ["x^{", "a}", r"\frac{1", "{", r"\sqrt[3", "x^", r"\mathrm", ""])
def test_what_nothing_renders_is_like_nothing(broken: str) -> None:
    assert comparable(broken) == ""
