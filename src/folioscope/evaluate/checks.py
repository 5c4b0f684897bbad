"""Facts checked on the pages that they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from folioscope.evaluate.facts.baseline import Baseline
from folioscope.evaluate.facts.fact import Fact
from folioscope.evaluate.intake import Text
from folioscope.evaluate.names import namesakes
from folioscope.evaluate.pages import by_name, readings_of
from folioscope.evaluate.result import NOT_READ, FactOutcome


def with_baselines(facts: Mapping[str, Sequence[Fact]]) -> dict[str, Sequence[Fact]]:
    """The facts, and as the benchmark adds it, a baseline for each document that has none."""
    every = [fact for some in facts.values() for fact in some]
    documents = dict.fromkeys(fact.pdf for fact in every)
    have = {fact.pdf for fact in every if isinstance(fact, Baseline)}
    more = [Baseline(pdf=pdf, page=1, id=f"{pdf}_baseline", type="baseline") for pdf in documents if pdf not in have]
    return {**facts, **({"baseline": more} if more else {})}


def outcomes(
    read: Sequence[Text], facts: Mapping[str, Sequence[Fact]], now: Callable[[str], None]
) -> Iterator[FactOutcome]:
    """What becomes of each fact, in the order of the files."""
    readings = by_name(read)
    documents = {fact.pdf: fact.pdf.rsplit(".", 1)[0] for some in facts.values() for fact in some}
    pairs = namesakes(documents.values(), readings)
    for file, some in facts.items():
        for pdf, group in groupby(some, key=lambda fact: fact.pdf):
            now(f"{file}: {pdf}")
            document = readings.get(pairs.get(documents[pdf], ""), {})
            for fact in group:
                yield _outcome(fact, file, readings_of(document, fact.page))


def _outcome(fact: Fact, file: str, answers: Sequence[str]) -> FactOutcome:
    failures = [fact.failure(answer) for answer in answers]
    why = next(filter(None, failures), "") if answers else NOT_READ
    return FactOutcome(fact, file, failures.count(None) / max(1, len(failures)), why)
