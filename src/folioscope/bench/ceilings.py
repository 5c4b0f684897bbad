"""What this machine can do at most: large matrix products and reading memory, with torch as it is installed."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from folioscope.bench.result import Machine
from folioscope.native.memory import Arena

ROWS, INNER, COLUMNS = 2048, 1024, 4096
OPERATIONS = 2.0 * ROWS * INNER * COLUMNS
READ_BYTES = 1 << 28
"""More than caches hold."""

SECONDS = 0.4
"""Each ceiling is looked for about so long: a busy machine shows its best only now and then."""


def measure(path: str) -> Machine:
    """The ceilings with the threads that torch now has."""
    return Machine(
        processor=_processor(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        path=path,
        float32=product_rate(torch.float32),
        bfloat16=product_rate(torch.bfloat16),
        int8=OPERATIONS / _best(_integer_product()),
        read=READ_BYTES / _best(_reading()),
    )


def product_rate(dtype: torch.dtype) -> float:
    """Operations a second of a large product."""
    return OPERATIONS / _best(_product(dtype))


def best_of(first: Machine, second: Machine) -> Machine:
    """The higher of each ceiling, measured before and after the stages."""
    fields = vars(first)
    rates = {name: max(value, getattr(second, name)) for name, value in fields.items() if isinstance(value, float)}
    return Machine(**{**fields, **rates})


def _product(dtype: torch.dtype) -> Callable[[], object]:
    """A product with weights laid out as the library likes them best, where it can do so."""
    x, weight = torch.randn(ROWS, INNER).to(dtype), torch.randn(COLUMNS, INNER).to(dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    except (AttributeError, NotImplementedError, RuntimeError):  # built without oneDNN, or it lacks this dtype here
        return lambda: torch.nn.functional.linear(x, weight)
    return lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


def _integer_product() -> Callable[[], object]:
    x, weight = (torch.randint(-127, 128, (rows, INNER), dtype=torch.int8) for rows in (ROWS, COLUMNS))
    return lambda: torch._int_mm(x, weight.T)  # pyright: ignore[reportPrivateImportUsage]


def _reading() -> Callable[[], object]:
    """In large pages, where there are any: looking up the addresses of small ones takes time."""
    numbers = Arena().empty((READ_BYTES // 4,), torch.float32).fill_(1)
    return lambda: numbers.sum()


@torch.inference_mode()
def _best(run: Callable[[], object]) -> float:
    """Seconds of the best of some runs."""
    run()
    end, best = time.perf_counter() + SECONDS, float("inf")
    while (start := time.perf_counter()) < end:
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
