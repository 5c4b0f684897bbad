"""What an evaluation comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median
from typing import Literal

from folioscope.evaluate.facts.fact import Fact
from folioscope.evaluate.score import Score

Missing = Literal["prediction", "truth"]

BEST: Mapping[str, int] = {"edit": 0, "cer": 0, "wer": 0, "blocks": 0, "order": 0, "teds": 1, "teds_structure": 1}
"""Each score of a page, and its best value."""

SOURCES: Mapping[str, str] = {
    "edit": "Levenshtein distance / longer text (OmniDocBench Edit_dist, of whole pages)",
    "cer": "edits / characters of the truth (jiwer)",
    "wer": "edits / words of the truth (jiwer)",
    "blocks": "edits / longer of each pair of blocks (OmniDocBench text_block Edit_dist, simple_match)",
    "order": "edits / blocks of the truth (OmniDocBench reading_order Edit_dist, simple_match)",
    "teds": "tree edit distance similarity (PubTabNet, on tables as OmniDocBench normalises them)",
    "teds_structure": "the same, whatever cells say",
    "facts": "share of facts that hold (olmOCR-bench)",
}


NOT_READ = "the page was not read"
"""Why a fact does not hold."""

SAMPLES, INTERVAL = 1000, (2.5, 97.5)
"""Drawn to see how far chance goes, and the percentiles between which 95 % of them lie."""


@dataclass(frozen=True)
class PageScores:
    """A page, or a document as a whole, where `page` is None.

    Attributes:
        missing: What is not there; then it is wrong by every metric.
        scores: By metric; where the truth has no table, none of tables.
    """

    name: str
    page: int | None
    missing: Missing | None
    scores: Mapping[str, Score]

    @property
    def label(self) -> str:
        """Its name, for people."""
        return self.name if self.page is None else f"{self.name}, page {self.page}"


@dataclass(frozen=True)
class Aggregate:
    """A metric over all pages: mean and median of the pages' values, and the value of all of them as one page."""

    pages: int
    mean: float
    median: float
    pooled: float


@dataclass(frozen=True)
class FactOutcome:
    """Whether a fact held.

    Attributes:
        file: The file it is in.
        share: Of the readings of its page, 0..1; one that was not read is 0.
        why: Why not, of the first reading for which it did not; empty if it held for all.
    """

    fact: Fact
    file: str
    share: float
    why: str = ""

    @property
    def holds(self) -> bool:
        """For more than half of the readings."""
        return self.share > 0.5


@dataclass(frozen=True)
class Evaluation:
    """All of it.

    Attributes:
        left_out: Pages that were read and have no truth, if they are not to count.
        text: The form of texts that was compared.
        notes: What to know about the definitions.
    """

    pages: Sequence[PageScores]
    facts: Sequence[FactOutcome] = ()
    left_out: Sequence[str] = ()
    text: str = ""
    notes: Sequence[str] = ()

    @cached_property
    def aggregates(self) -> dict[str, Aggregate]:
        """By metric, those that a page has a score of."""
        found = {name: [page.scores[name] for page in self.pages if name in page.scores] for name in BEST}
        return {name: _aggregate(scores) for name, scores in found.items() if scores}

    def worst(self, metric: str, count: int) -> list[PageScores]:
        """Pages that are not right, the worst first."""
        scored = [page for page in self.pages if metric in page.scores]
        wrong = [page for page in scored if page.scores[metric].value != BEST[metric]]
        return sorted(wrong, key=lambda page: -abs(page.scores[metric].value - BEST[metric]))[:count]

    @cached_property
    def fact_shares(self) -> dict[str, tuple[float, int]]:
        """By type of fact: the share that holds, a fact that holds for some of the readings in part; their number."""
        return _shares((outcome.fact.type, outcome.share) for outcome in self.facts)

    @cached_property
    def file_shares(self) -> dict[str, tuple[float, int]]:
        """By file: the share of facts that hold, and their number."""
        return _shares(self._held)

    @property
    def _held(self) -> list[tuple[str, float]]:
        return [(outcome.file, float(outcome.holds)) for outcome in self.facts]

    @property
    def facts_overall(self) -> float:
        """The mean over files, as olmOCR-bench sums up. 0..1."""
        return fmean(share for share, _ in self.file_shares.values())

    @cached_property
    def facts_interval(self) -> tuple[float, float]:
        """Where that would lie, in 95 of 100 cases, with other facts of the same kind: bootstrapped within each file.

        https://github.com/allenai/olmocr/blob/347c4844aa4eaad76d47cc5439a61e896deadb2a/olmocr/bench/utils.py
        """
        import numpy as np

        draw = np.random.default_rng(0)
        files = [np.array(held) for held in _grouped(self._held).values()]
        means = [draw.choice(held, (SAMPLES, len(held))).mean(axis=1) for held in files]
        low, high = np.percentile(np.mean(means, axis=0), INTERVAL)
        return float(low), float(high)


def _aggregate(scores: Sequence[Score]) -> Aggregate:
    values = [score.value for score in scores]
    together = Score(sum(score.amount for score in scores), sum(score.of for score in scores))
    return Aggregate(len(scores), fmean(values), median(values), together.value)


def _shares(named: Iterable[tuple[str, float]]) -> dict[str, tuple[float, int]]:
    return {name: (fmean(shares), len(shares)) for name, shares in sorted(_grouped(named).items())}


def _grouped(named: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for name, share in named:
        groups.setdefault(name, []).append(share)
    return groups
