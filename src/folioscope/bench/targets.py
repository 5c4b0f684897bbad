"""What the published sizes are to reach, beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from folioscope.bench.result import Bench, Row

FLOATS, INTEGERS = ("bfloat16",), ("int8",)


@dataclass(frozen=True)
class Judgement:
    """A number beside its target.

    Attributes:
        stage: What was measured.
        value: The number, of `what`.
        bound: It is to be at least this much or, if `most`, at most.
        note: What else the run says about it, if it is missed.
    """

    stage: str
    value: float
    what: str
    bound: float
    most: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.most else self.value >= self.bound

    def __str__(self) -> str:
        wanted = f"target {'at most' if self.most else 'at least'} {self.bound:g}"
        said = f"{self.stage}: {self.value:.3g} {self.what}, {wanted}"
        return f"met     {said}" if self.met else f"missed  {said}{self.note and f': {self.note}'}"


@dataclass(frozen=True)
class Target:
    """One row of the table of targets.

    Attributes:
        stage: What the names of its stages begin with.
        weights: The dtypes that it is for.
        measure: The number that counts, of a stage, and a note; None where this run did not measure it.
        bound: At least this much or, if `most`, at most.
    """

    stage: str
    weights: tuple[str, ...]
    what: str
    measure: Callable[[Bench, Row], tuple[float, str] | None]
    bound: float
    most: bool = False

    def judge(self, bench: Bench, row: Row) -> Judgement | None:
        fits = row.stage.startswith(self.stage) and bench.options.weights in self.weights
        found = self.measure(bench, row) if fits else None
        return None if found is None else Judgement(row.stage, found[0], self.what, self.bound, self.most, found[1])


def _share(bench: Bench, row: Row) -> tuple[float, str] | None:
    computing, reading = bench.machine.computing(row.work, bench.options.weights), bench.machine.reading(row.work)
    return row.share, f"of {row.seconds:.3g} s, products take {computing:.3g} at least and reading {reading:.3g}"


def _seconds(bench: Bench, row: Row) -> tuple[float, str] | None:
    return row.seconds, ""


def _speedup(bench: Bench, row: Row) -> tuple[float, str] | None:
    return (row.against / row.seconds, "") if row.against else None


def _times_first(bench: Bench, row: Row) -> tuple[float, str] | None:
    """Its seconds by those of the same stage for one prompt."""
    one = next((other for other in bench.rows if other.stage == row.stage.replace("64", "1")), None)
    return (row.seconds / one.seconds, f"its floor is {row.floor / one.floor:.3g} times one prompt's") if one else None


def _tokens_of_first(bench: Bench, row: Row) -> tuple[float, str] | None:
    """Its tokens a second by those of one row alone."""
    one = next((other for other in bench.rows if other.stage == row.stage.replace("batch 8", "batch 1")), None)
    if one is None:
        return None
    times = row.tokens / row.seconds / (one.tokens / one.seconds)
    return times, f"at the same share of the ceiling it would be {row.tokens * one.floor / row.floor:.3g}"


def _kernels(wanted: bool) -> Callable[[Bench, Row], tuple[float, str] | None]:
    return lambda bench, row: _share(bench, row) if (bench.machine.path != "torch") == wanted else None


TARGETS = (
    Target("image encoder, 1024, batch 1", FLOATS, "of ceiling", _share, 0.75),
    Target("image encoder, 1024, batch 1", FLOATS, "times transformers' speed", _speedup, 2.0),
    Target("mask decoder, prompts: 1", FLOATS, "seconds", _seconds, 0.06, most=True),
    Target("mask decoder, prompts: 64", FLOATS, "times one prompt's seconds", _times_first, 16, most=True),
    Target("vision", FLOATS, "of ceiling", _share, 0.7),
    Target("prefill", FLOATS, "of ceiling", _share, 0.7),
    Target("decode, context 300, batch 1", INTEGERS, "of ceiling", _kernels(True), 0.6),
    Target("decode, context 300, batch 1", ("int4",), "of ceiling", _kernels(True), 0.5),
    Target("decode, context 300, batch 1", INTEGERS, "of ceiling, torch alone", _kernels(False), 0.4),
    Target("decode, context 300, batch 8", INTEGERS, "times one row's tokens/s", _tokens_of_first, 3),
)

LOADED = {"bfloat16": 3.0, "int8": 3.0}
"""Seconds to load a reader at most."""

PEAK = {"bfloat16": 7.6, "int8": 4.6, "int4": 3.2}
"""GB that a reader takes at most, with a gundam page."""


def judged(bench: Bench) -> Iterator[str]:
    """A line for each target that this run says something about; none for other sizes than the published."""
    if bench.options.size != "full":
        return
    for target in TARGETS:
        yield from (str(found) for row in bench.rows if (found := target.judge(bench, row)))
    yield from map(str, _loading(bench))


def _loading(bench: Bench) -> Iterator[Judgement]:
    weights = bench.options.weights
    for loading in bench.loading[:1] if bench.network == "reader" else ():
        if weights in LOADED:
            yield Judgement("loading", loading.seconds, "seconds", LOADED[weights], most=True)
        if weights in PEAK and loading.peak:
            yield Judgement("memory", loading.peak / 1e9, "GB at most", PEAK[weights], most=True)
