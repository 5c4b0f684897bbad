"""What is asked of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from folioscope.evaluate.texts import TEXTS
from folioscope.types import InputError

METRICS = ("edit", "cer", "wer", "blocks", "order", "teds", "facts")


@dataclass(frozen=True)
class EvaluateOptions:
    """What to measure.

    Attributes:
        metric: By commas, of edit, cer, wer, blocks, order, teds, facts; without, all that TRUTH allows.
        text: What edit, cer and wer compare: plain, the words without marks; markdown, the text as it is; letters,
            letters and digits alone, as OmniDocBench does, which leaves a page one word. Runs of blanks are one blank.
        partial: TRUTH is of a part of PREDICTIONS only: leave out pages without a truth, and do not count them as
            wrong.
        worst: Pages listed for each metric, those that came out worst.
    """

    metric: str = ""
    text: str = "plain"
    partial: bool = False
    worst: int = 5

    def __post_init__(self) -> None:
        unknown = next((name for name in self.metrics if name not in METRICS), None)
        if unknown is not None:
            raise InputError(f"--metric {unknown}: must be of {', '.join(METRICS)}")
        if self.text not in TEXTS:
            raise InputError(f"--text {self.text}: must be one of {', '.join(TEXTS)}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names in `metric`, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.metric.split(",") if name.strip()))
