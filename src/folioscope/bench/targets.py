"""What the published sizes are to reach, beside what was measured, and why where they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from folioscope.bench.result import Bench, Row

FLOATS, INTEGERS = ("bfloat16",), ("int8",)

BUSY = "on a busy machine ceilings are the best moments of the run, a stage is its average"
PREFILL = "bfloat16 weights are multiplied as files have them, not laid out for products, and experts see few rows each"
CLICKS = "the arithmetic of 64 clicks is 50 times one's"
ROUTING = "eight rows choose 34.9 experts of a block and one row 6: the bytes alone allow 2.75 times"
PAGES = "weights mapped from files lie in pages of 4 KB, whose addresses take time to look up"
OPERATORS = "PyTorch's own operators read packed weights at 15 GB/s at most, a block's experts one by one"
EMBEDDINGS = "embeddings, routers and norms stay as stored, activations are float32 or bfloat16"


@dataclass(frozen=True)
class Target:
    """One row of the table of targets.

    Attributes:
        stage: What the names of its stages begin with; "loading" for the process of its own.
        weights: The dtypes that it is for.
        measure: The number that counts, of a stage; None where this run did not measure it.
        bound: At least this much or, if `most`, at most.
        reason: Why it may be missed.
    """

    stage: str
    weights: tuple[str, ...]
    what: str
    measure: Callable[[Bench, Row], float | None]
    bound: float
    reason: str
    most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bound if self.most else value >= self.bound


def _share(bench: Bench, row: Row) -> float | None:
    return row.share


def _seconds(bench: Bench, row: Row) -> float | None:
    return row.seconds


def _speedup(bench: Bench, row: Row) -> float | None:
    return row.against / row.seconds if row.against else None


def _times_first(bench: Bench, row: Row) -> float | None:
    """Its seconds by those of the same stage for one prompt."""
    one = next((other for other in bench.rows if other.stage == row.stage.replace("64", "1")), None)
    return row.seconds / one.seconds if one else None


def _tokens_of_first(bench: Bench, row: Row) -> float | None:
    """Its tokens a second by those of one row alone."""
    one = next((other for other in bench.rows if other.stage == row.stage.replace("batch 8", "batch 1")), None)
    return row.tokens / row.seconds / (one.tokens / one.seconds) if one else None


def _kernels(wanted: bool) -> Callable[[Bench, Row], float | None]:
    return lambda bench, row: row.share if (bench.machine.path != "torch") == wanted else None


TARGETS = (
    Target("image encoder, 1024, batch 1", FLOATS, "of ceiling", _share, 0.75, BUSY),
    Target("image encoder, 1024, batch 1", FLOATS, "times transformers' speed", _speedup, 2.0, BUSY),
    Target("mask decoder, prompts: 1", FLOATS, "seconds", _seconds, 0.06, BUSY, most=True),
    Target("mask decoder, prompts: 64", FLOATS, "times one prompt's seconds", _times_first, 16, CLICKS, most=True),
    Target("vision", FLOATS, "of ceiling", _share, 0.7, BUSY),
    Target("prefill", FLOATS, "of ceiling", _share, 0.7, PREFILL),
    Target("decode, context 300, batch 1", INTEGERS, "of ceiling", _kernels(True), 0.6, PAGES),
    Target("decode, context 300, batch 1", ("int4",), "of ceiling", _kernels(True), 0.5, PAGES),
    Target("decode, context 300, batch 1", INTEGERS, "of ceiling, torch alone", _kernels(False), 0.4, OPERATORS),
    Target("decode, context 300, batch 8", INTEGERS, "times one row's tokens/s", _tokens_of_first, 3, ROUTING),
)

LOADED = {"bfloat16": 3.0, "int8": 3.0}
"""Seconds to load a reader at most."""

PEAK = {"bfloat16": 7.6, "int8": 4.6, "int4": 3.2}
"""GB that a reader takes at most, with a gundam page."""


def judged(bench: Bench) -> Iterator[str]:
    """A line for each target that this run says something about; none for other sizes than the published."""
    if bench.options.size != "full":
        return
    weights = bench.options.weights
    for target in TARGETS:
        for row in bench.rows:
            value = (
                target.measure(bench, row) if row.stage.startswith(target.stage) and weights in target.weights else None
            )
            if value is not None:
                yield _line(row.stage, value, target.bound, target.what, target.met(value), target.most, target.reason)
    for loading in bench.loading[:1] if bench.network == "reader" else ():
        for name, value, bounds in (("loading", loading.seconds, LOADED), ("memory", (loading.peak or 0) / 1e9, PEAK)):
            if value and weights in bounds:
                unit = "seconds" if name == "loading" else "GB at most"
                why = BUSY if name == "loading" else EMBEDDINGS
                yield _line(name, value, bounds[weights], unit, value <= bounds[weights], True, why)


def _line(stage: str, value: float, bound: float, what: str, met: bool, most: bool, reason: str) -> str:
    said = f"{stage}: {value:.3g} {what}, target {'at most' if most else 'at least'} {bound:g}"
    return f"met     {said}" if met else f"missed  {said}: {reason}"
