"""The whole: pages paired and measured, what is missing counted as wrong, facts summed up as the benchmark does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_intake import FACT, document, write

from folioscope.evaluate.options import EvaluateOptions
from folioscope.evaluate.result import BEST, SOURCES, Aggregate, Evaluation
from folioscope.evaluate.run import evaluate
from folioscope.export import save
from folioscope.types import Document, InputError, PageResult

TABLE = "<table><tr><td>a</td></tr></table>"


def evaluated(
    folder: Path, read: dict[str, Any], there: dict[str, Any], metric: str = "edit", **more: Any
) -> Evaluation:
    write(folder / "read", read)
    write(folder / "there", there)
    return evaluate(folder / "read", folder / "there", EvaluateOptions(metric, **more))


def values(found: Evaluation, metric: str = "edit") -> dict[str, float]:
    return {page.label: page.scores[metric].value for page in found.pages if metric in page.scores}


def test_mean_median_and_pooled(tmp_path: Path) -> None:
    found = evaluated(
        tmp_path, {"a.md": "abcd", "b.md": "ab", "c.md": "x"}, {"a.md": "abcx", "b.md": "ab", "c.md": "y"}
    )
    assert values(found) == {"a": 0.25, "b": 0, "c": 1}
    assert found.aggregates == {"edit": Aggregate(3, pytest.approx(1.25 / 3), 0.25, pytest.approx(2 / 7))}
    assert [page.name for page in found.worst("edit", 5)] == ["c", "a"]
    assert [page.name for page in found.worst("edit", 1)] == ["c"]


def test_what_is_missing_is_wrong_by_every_metric(tmp_path: Path) -> None:
    there = {"a.md": "x", "gone.md": f"Words\n\n{TABLE}", "blank.md": ""}
    found = evaluated(tmp_path, {"a.md": "x", "extra.md": "y"}, there, "edit,cer,wer,blocks,order,teds")
    missing = {page.label: page.missing for page in found.pages}
    assert missing == {"a": None, "gone": "prediction", "blank": "prediction", "extra": "truth"}
    for page in found.pages:
        if page.missing:
            wrong = {name: 1 - BEST[name] for name in page.scores}
            assert {name: score.value for name, score in page.scores.items()} == wrong, page.label
    gone = next(page for page in found.pages if page.label == "gone")
    assert gone.scores.keys() == BEST.keys()


def test_a_part_of_the_predictions(tmp_path: Path) -> None:
    found = evaluated(tmp_path, {"a.md": "x", "extra.md": "y"}, {"a.md": "x", "gone.md": "z"}, partial=True)
    assert values(found) == {"a": 0, "gone": 1}
    assert found.left_out == ["extra"]


def test_pages_and_whole_documents(tmp_path: Path) -> None:
    save(document("s/x.pdf", "one", "two", "three"), tmp_path / "read", ["json"])
    save(document("s/y.pdf", "one", "", "two"), tmp_path / "read", ["json"])
    found = evaluated(tmp_path, {}, {"x_pg1.md": "one", "x_pg2.md": "tow", "y.md": "one\n\ntwo\n"})
    assert values(found) == {"x, page 1": 0, "x, page 2": pytest.approx(2 / 3), "x, page 3": 1, "y": 0}
    assert [page.missing for page in found.pages] == [None, None, "truth", None]


def test_a_page_that_failed_was_not_read(tmp_path: Path) -> None:
    pages = tuple(
        PageResult(number, "x.pdf", (9, 9), status, error="broken") for number, status in ((1, "failed"), (2, "ok"))
    )
    save(Document("x.pdf", pages), tmp_path / "read", ["json"])
    found = evaluated(tmp_path, {}, {"x_pg1.md": "", "x_pg2.md": ""})
    assert [(page.missing, page.scores["edit"].value) for page in found.pages] == [("prediction", 1), (None, 0)]


def test_a_text_without_pages_is_its_first(tmp_path: Path) -> None:
    found = evaluated(tmp_path, {"x.md": "one"}, {"x_pg1.md": "one", "x_pg2.md": "two"})
    assert values(found) == {"x, page 1": 0, "x, page 2": 1}
    assert [page.missing for page in found.pages] == [None, "prediction"]


def test_repeated_readings_are_averaged(tmp_path: Path) -> None:
    found = evaluated(tmp_path, {"x_pg1_repeat1.md": "ab", "x_pg1_repeat2.md": "ax"}, {"x_pg1.md": "ab"})
    assert values(found) == {"x, page 1": 0.25}


def test_what_is_compared(tmp_path: Path) -> None:
    read, there = {"x.md": "# **Title**\n\nword-word"}, {"x.md": "Title word\nword"}
    for form, distance in (("plain", 1 / 15), ("markdown", 7 / 21), ("letters", 0)):
        assert values(evaluated(tmp_path, read, there, text=form)) == {"x": pytest.approx(distance)}


def test_pages_without_tables_have_no_score_of_tables(tmp_path: Path) -> None:
    found = evaluated(tmp_path, {"a.md": TABLE, "b.md": "x"}, {"a.md": TABLE, "b.md": "x"}, "teds")
    assert values(found, "teds") == values(found, "teds_structure") == {"a": 1}
    assert found.aggregates["teds"].pages == 1


def facts(*lines: dict[str, Any]) -> str:
    """Lines of a file; what is None is left out."""
    filled = ({**FACT, **line, "id": f"{number} of {lines}"} for number, line in enumerate(lines))
    return "".join(
        json.dumps({name: value for name, value in line.items() if value is not None}) + "\n" for line in filled
    )


def test_facts_are_summed_up_by_file(tmp_path: Path) -> None:
    there = {
        "one.jsonl": facts({"text": "there"}, {"text": "not"}, {"text": "not", "type": "absent"}),
        "two.jsonl": facts({"pdf": "b.pdf", "text": "other"}),
    }
    found = evaluated(tmp_path, {"a.md": "is there", "b.md": "other"}, there, "")
    assert not found.pages
    assert found.fact_shares == {"absent": (1, 1), "baseline": (1, 2), "present": (pytest.approx(2 / 3), 3)}
    assert found.file_shares == {"baseline": (1, 2), "one.jsonl": (pytest.approx(2 / 3), 3), "two.jsonl": (1, 1)}
    assert found.facts_overall == pytest.approx((1 + 2 / 3 + 1) / 3)


def test_how_far_chance_goes(tmp_path: Path) -> None:
    """One file of a hundred facts, half of which hold: two standard deviations of a mean of coin tosses are 0.1."""
    lines = [{"text": "there" if number % 2 else "not"} for number in range(100)]
    found = evaluated(
        tmp_path, {"a.md": "is there"}, {"f.jsonl": facts(*lines, {"type": "baseline", "text": None})}, "facts"
    )
    low, high = found.facts_interval
    assert low == pytest.approx(0.4, abs=0.03)
    assert high == pytest.approx(0.6, abs=0.03)
    assert low < found.facts_overall < high


def test_a_benchmark_that_holds_what_was_read_as_well(tmp_path: Path) -> None:
    there = {"f.jsonl": facts({"text": "x"}), "reader/a.md": "other", "summary.json": "{}"}
    assert evaluated(tmp_path, {"a.md": "x"}, there, "facts").facts_overall == 1


def test_a_fact_holds_if_it_does_for_most_readings(tmp_path: Path) -> None:
    read = {"a_pg1_repeat1.md": "x y", "a_pg1_repeat2.md": "x", "a_pg1_repeat3.md": "x y"}
    found = evaluated(tmp_path, read, {"f.jsonl": facts({"text": "y"})}, "facts")
    assert [(outcome.share, outcome.holds) for outcome in found.facts] == [(pytest.approx(2 / 3), True), (1, True)]
    assert found.fact_shares["present"] == (pytest.approx(2 / 3), 1)
    assert found.file_shares["f.jsonl"] == (1, 1)


def test_facts_of_a_page_that_was_not_read_do_not_hold(tmp_path: Path) -> None:
    there = {"f.jsonl": facts({"text": "x"}, {"text": "z", "type": "absent", "page": 2}, {"pdf": "gone.pdf"})}
    found = evaluated(tmp_path, {"a.md": "x"}, there, "facts")
    assert [(outcome.holds, outcome.why) for outcome in found.facts] == [
        (True, ""),
        (False, "the page was not read"),
        (False, "the page was not read"),
        (True, ""),
        (False, "the page was not read"),
    ]


def test_a_baseline_of_ones_own_is_not_added_to(tmp_path: Path) -> None:
    there = {"f.jsonl": facts({"type": "baseline", "text": None, "max_length": 0})}
    found = evaluated(tmp_path, {"a.md": ""}, there, "facts")
    assert [(outcome.file, outcome.holds) for outcome in found.facts] == [("f.jsonl", True)]


def test_texts_and_facts_together(tmp_path: Path) -> None:
    found = evaluated(tmp_path, {"a.md": "x"}, {"a.md": "x", "f.jsonl": facts({"text": "x"})}, "")
    assert set(found.aggregates) == {"edit", "cer", "wer", "blocks", "order"}
    assert len(found.facts) == 2


def test_every_score_says_what_it_is() -> None:
    assert SOURCES.keys() == BEST.keys() | {"facts"}


REFUSED = [
    ({"a.md": "x"}, {"b.md": "x"}, "", "no name is on both sides; one read is a, one there b"),
    ({"a.md": "x"}, {"a.md": "x"}, "facts", "--metric facts: {there} holds no facts"),
    ({"a.md": "x"}, {"f.jsonl": FACT}, "edit", "--metric edit: {there} holds no texts"),
    ({"f.jsonl": FACT}, {"f.jsonl": FACT}, "", "{read}: holds facts and no text that was read"),
    ({"b.md": "x"}, {"f.jsonl": FACT}, "", "{read}: has no page that the facts of {there} are of, such as a.pdf"),
    ({"a.md": "x"}, {"a.md": "x", "a_pg1.md": "x", "a_pg1_repeat2.md": "y"}, "", "a: has 2 truths"),
]


@pytest.mark.parametrize(("read", "there", "metric", "message"), REFUSED)
def test_what_cannot_be_compared(
    tmp_path: Path, read: dict[str, Any], there: dict[str, Any], metric: str, message: str
) -> None:
    with pytest.raises(InputError) as raised:
        evaluated(tmp_path, read, there, metric)
    assert str(raised.value) == message.format(read=tmp_path / "read", there=tmp_path / "there")


def test_a_library_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("folioscope.evaluate.run.find_spec", lambda name: None if name == "apted" else name)
    with pytest.raises(
        InputError, match=r"--metric teds: needs apted; install it with pip install 'folioscope\[evaluate\]'"
    ):
        evaluated(tmp_path, {"a.md": TABLE}, {"a.md": TABLE}, "teds")


@pytest.mark.parametrize(
    ("options", "message"), [({"metric": "edits"}, "--metric edits"), ({"text": "raw"}, "--text raw")]
)
def test_unknown_words(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=f"{message}: must be"):
        EvaluateOptions(**options)
