"""The story: read both sides, pair them by name, measure every pair, check every fact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from folioscope.evaluate.checks import outcomes, with_baselines
from folioscope.evaluate.facts import math
from folioscope.evaluate.intake import Contents, contents_of
from folioscope.evaluate.options import METRICS, EvaluateOptions
from folioscope.evaluate.pages import page_scores
from folioscope.evaluate.result import NOT_READ, Evaluation
from folioscope.types import InputError

LIBRARIES: Mapping[str, Sequence[str]] = {
    "blocks": ("rapidfuzz", "scipy"),
    "order": ("rapidfuzz", "scipy"),
    "teds": ("rapidfuzz", "scipy", "apted"),
    "facts": ("rapidfuzz", "fuzzysearch"),
}
"""What of the extra each metric needs."""


def evaluate(
    predictions: Path, truth: Path, options: EvaluateOptions, *, now: Callable[[str], None] = lambda _: None
) -> Evaluation:
    """Compare what was read with what is there.

    Args:
        predictions: A file or a folder, see `intake`.
        truth: Another; texts, facts, or both.
        options: What to measure.
        now: Told what is being done.

    Raises:
        InputError: A side cannot be read, or no name is on both; a metric needs what TRUTH has not, or a library that
            is not there.
    """
    there = contents_of(truth, facts_only=options.metrics == ("facts",))
    metrics = _chosen(options, there, str(truth))
    read = contents_of(predictions).texts
    if not read:
        raise InputError(f"{predictions}: holds facts and no text that was read")
    pages, unmatched = page_scores(read, there.texts, metrics, options, now) if set(metrics) - {"facts"} else ([], [])
    facts = list(outcomes(read, with_baselines(there.facts), now)) if "facts" in metrics else []
    if facts and all(outcome.why == NOT_READ for outcome in facts):
        raise InputError(f"{predictions}: has no page that the facts of {truth} are of, such as {facts[0].fact.pdf}")
    notes = [math.NOTE] if any(isinstance(outcome.fact, math.Formula) for outcome in facts) else []
    return Evaluation(pages, facts, unmatched, options.text, notes)


def _chosen(options: EvaluateOptions, there: Contents, truth: str) -> list[str]:
    """The metrics asked for, or those that can be; each is known to be possible."""
    allowed = [name for name in METRICS if (there.facts if name == "facts" else there.texts)]
    chosen = options.metrics or tuple(allowed)
    for name in chosen:
        if name not in allowed:
            raise InputError(f"--metric {name}: {truth} holds no {'facts' if name == 'facts' else 'texts'}")
        for library in LIBRARIES.get(name, ()):
            if find_spec(library) is None:
                raise InputError(
                    f"--metric {name}: needs {library}; install it with pip install 'folioscope[evaluate]'"
                )
    return [name for name in METRICS if name in chosen]
