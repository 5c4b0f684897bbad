"""Seconds of stages, the systems in turn, so that what else the machine does strikes both alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

Stage = Callable[[], object]


def best(stages: Mapping[str, Stage], runs: int) -> dict[str, float]:
    """Seconds of the best of `runs` runs by system, after one that warms up."""
    return {name: min(seconds) for name, seconds in _in_turn(stages, runs).items()}


def typical(stages: Mapping[str, Stage], runs: int) -> dict[str, float]:
    """Seconds of the median run."""
    return {name: median(seconds) for name, seconds in _in_turn(stages, runs).items()}


def _in_turn(stages: Mapping[str, Stage], runs: int) -> dict[str, list[float]]:
    for run in stages.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(runs):
        for name, run in stages.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return taken
