"""Facts against olmOCR-bench's own package, on random pages.

The released package (0.4.27) is older than the benchmark that `facts` follows. What has changed since is left out:
texts longer than the page, emphasis over line ends, tables, marks.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from folioscope.evaluate.facts import fact_of
from folioscope.types import InputError

TEXT = "the a of café cafe letter frost-bitten “quoted” it’s 14 kg **bold** _it_ <b>B</b> — – - 3,5 end. The"
ENDS = ("", "", "ab" * 28, "ab" * 30, "ab" * 32, "." * 30, "." * 32, "漢", "😀", "…")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home: Path = tmp_path_factory.mktemp("home")  # the package makes a cache there when it is imported
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        return pytest.importorskip("olmocr.bench.tests", reason="needs olmocr; see `make parity`")


def random_fact(draw: random.Random, page: str) -> dict[str, Any]:
    kind = draw.choice(["present", "absent", "order", "baseline"])
    fact = {"pdf": "a.pdf", "page": 1, "id": "1", "type": kind}
    if kind == "baseline":
        return fact | {"check_disallowed_characters": draw.random() < 0.5}
    fact["max_diffs"] = draw.randrange(4)
    if kind == "order":
        return fact | {"before": piece(draw, page), "after": piece(draw, page)}
    return fact | {"text": piece(draw, page), "case_sensitive": draw.random() < 0.7}


def piece(draw: random.Random, page: str) -> str:
    """Some of the page, with up to three letters wrong."""
    start = draw.randrange(max(1, len(page) - 20))
    letters = list(page[start : start + draw.randint(6, 20)])
    for _ in range(draw.choice([0, 0, 1, 2, 3])):
        letters[draw.randrange(len(letters))] = draw.choice("abcdex")
    return "".join(letters)


def test_facts_hold_and_do_not_as_in_the_benchmark(bench: Any) -> None:
    draw, held = random.Random(0), []
    for _ in range(1500):
        page = " ".join(draw.choices(TEXT.split(), k=draw.randint(12, 40))) + draw.choice(ENDS)
        values = random_fact(draw, page)
        try:
            theirs = bench.load_single_test(dict(values)).run(page)[0]
        except bench.ValidationError:
            with pytest.raises(InputError):
                fact_of(values, "here")
            continue
        assert (fact_of(values, "here").failure(page) is None) == theirs, (values, page)
        held.append(theirs)
    assert len(held) > 1000
    assert 300 < sum(held) < len(held) - 300
