"""Formulas: how often comparing LaTeX says what olmOCR-bench says after rendering both with KaTeX in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from folioscope.evaluate.facts import fact_of

pytestmark = pytest.mark.browser

FORMULAS = (
    r"E = mc^2", r"\frac{a+b}{c}", r"\sum_{i=1}^{n} x_i", r"\int_0^1 f(x)\,dx", r"\sqrt{x+1}", r"a \leq b \neq c",
    r"\alpha_{ij} + \beta^{2}", r"\mathbf{A}\mathbf{x} = \mathbf{b}", r"\lim_{n\to\infty} a_n = 0", r"f: X \to Y",
    r"\hat{\theta} = \arg\max_\theta L(\theta)", r"\left\{ x \in \mathbb{R} \mid x > 0 \right\}", r"\overline{z}",
    r"\partial_t u = \Delta u", r"x'' + x = 0", r"\binom{n}{k}", r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
    r"\|x\|_2", r"e^{i\pi} + 1 = 0", r"\dots, x_n",
)  # fmt: skip

SPELLINGS = (
    {" + ": "+", " = ": "="},
    {r"\mathbf": r"\boldsymbol", r"\frac": r"\dfrac", r"\leq": r"\le", r"\to": r"\rightarrow", r"\mid": "|"},
    {r"\left": "", r"\right": "", r"\,": "", r"\mathbf{x}": "x", r"\mathbb{R}": "R"},
    {r"_{i=1}^{n}": r"^{n}_{i=1}", "_0^1": "^1_0", "^2": "^{2}", "_n": "_{n}", "''": r"^{\prime\prime}"},
    {"(": r"\left(", ")": r"\right)"},
    # other formulas
    {"x": "y"},
    {"2": "3", "1": "2"},
    {"+": "-"},
)


def on_the_page(wanted: str) -> Iterator[str]:
    """The formula in other spellings, as a part of others, and changed or cut."""
    yield from (f"{wanted} + q", f"q = {wanted}", f"{{{wanted}}}", wanted[:-1])
    for spelling in SPELLINGS:
        other = wanted
        for old, new in spelling.items():
            other = other.replace(old, new)
        yield other


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The package, with the machine's own Chromium."""
    chromium = shutil.which("chromium") or pytest.skip("needs Chromium")
    home: Path = tmp_path_factory.mktemp("home")  # rendered formulas are kept there
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        tests = pytest.importorskip("olmocr.bench.tests", reason="needs olmocr; see `make parity`")
        from playwright.sync_api import BrowserType

        launch = BrowserType.launch
        given = {"executable_path": chromium, "args": ["--no-sandbox"]}
        patch.setattr(BrowserType, "launch", lambda self, **more: launch(self, **given, **more))
        yield tests


def test_nearly_always(bench: Any) -> None:
    same, different = 0, []
    for wanted in FORMULAS:
        fact = {"pdf": "a.pdf", "page": 1, "id": "1", "type": "math", "math": wanted}
        test = bench.load_single_test(fact)
        for formula in dict.fromkeys(on_the_page(wanted)):
            page = rf"Text \[ {formula} \] text"
            if (fact_of(fact, "here").failure(page) is None) == test.run(page)[0]:
                same += 1
            else:
                different.append((wanted, formula))
    assert same >= 130
    assert len(different) <= 2, different
