"""Names compared from their ends."""

from __future__ import annotations

import pytest

from folioscope.evaluate.names import namesakes
from folioscope.types import InputError


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [
        ("letter", "letter"),
        ("letter", "/scans/1998/letter"),
        ("1998/letter", "letter"),
        ("1998/letter", "/scans/1998/letter"),
        ("my letter (2)", "my_letter_2_"),
        ("2503.04048", "pdfs/2503.04048"),
    ],
)
def test_the_same(truth: str, prediction: str) -> None:
    assert namesakes([truth], [prediction]) == {truth: prediction}


@pytest.mark.parametrize(
    ("truth", "prediction"), [("a/x", "b/x"), ("x", "xx"), ("x/a", "x"), ("2503.04048", "2503.04")]
)
def test_not_the_same(truth: str, prediction: str) -> None:
    assert namesakes([truth], [prediction]) == {}


def test_the_longest_name_is_the_nearest() -> None:
    assert namesakes(["a/x", "b/x"], ["b/x", "a/x", "c/x"]) == {"a/x": "a/x", "b/x": "b/x"}


def test_two_that_fit_alike_are_refused() -> None:
    with pytest.raises(InputError, match=r"x: may be a/x or b/x; name them alike, with their folders"):
        namesakes(["x"], ["a/x", "b/x"])
    with pytest.raises(InputError, match=r"x: may be a/x or b/x"):
        namesakes(["a/x", "b/x"], ["x"])
