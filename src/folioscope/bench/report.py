"""A measurement as a table to read and as JSON to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from folioscope.bench.result import Bench, Loading, Machine, Row
from folioscope.bench.targets import judged

SCHEMA = "folioscope.bench/1"
GIGA = 1e9


def as_json(bench: Bench) -> dict[str, Any]:
    """Everything, in seconds, operations and bytes."""
    options = {field.name: getattr(bench.options, field.name) for field in fields(bench.options)}
    options |= {"dtype": bench.options.weights, "checkpoint": None, "parts": bench.options.parts.split(",")}
    return {
        "schema": SCHEMA,
        "network": bench.network,
        "options": options,
        "machine": vars(bench.machine),
        "stages": [_stage(row) for row in bench.rows],
        "loading": [vars(loading) for loading in bench.loading],
        "targets": list(judged(bench)),
    }


def _stage(row: Row) -> dict[str, Any]:
    return {
        "stage": row.stage,
        "seconds": row.seconds,
        "tokens_per_second": row.tokens / row.seconds if row.tokens else None,
        "operations": row.work.operations,
        "bytes_read": row.work.read,
        "floor_seconds": row.floor,
        "share_of_ceiling": row.share,
        "against_seconds": row.against,
        "speedup": row.against / row.seconds if row.against else None,
    }


def as_text(bench: Bench) -> str:
    """Lines for a terminal of 100 columns."""
    options = bench.options
    title = f"{bench.network}, {options.size} size, {options.weights}"
    parts = [title, *_machine(bench.machine), ""]
    if bench.rows:
        parts += [*_table(bench.rows, options.against), ""]
    parts += [_loading(loading) for loading in bench.loading]
    if lines := list(judged(bench)):
        parts += ["", *lines]
    return "\n".join(line.rstrip() for line in parts).rstrip() + "\n"


def _machine(machine: Machine) -> list[str]:
    threads = f"{machine.threads} thread" + "s" * (machine.threads > 1)
    products = ", ".join(
        f"{name} {getattr(machine, name) / GIGA:.0f}"
        for name in ("float32", "bfloat16", "int8")
        if getattr(machine, name)
    )
    return [
        f"{machine.processor}, {threads}, torch {machine.torch}, kernels: {machine.path}",
        f"ceilings: matrix products {products} G operations/s; memory read {machine.read / GIGA:.1f} GB/s",
    ]


def _table(rows: Sequence[Row], against: str | None) -> list[str]:
    head = ["stage", "seconds", "tokens/s", "G ops", "GB read", "floor s", "of ceiling"]
    head += [against, "x faster"] if against else []
    lines = [head, *(_cells(row, against is not None) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]


def _cells(row: Row, compared: bool) -> list[str]:
    cells = [row.stage, f"{row.seconds:.4g}", f"{row.tokens / row.seconds:.1f}" if row.tokens else ""]
    cells += [
        f"{row.work.operations / GIGA:.4g}",
        f"{row.work.read / GIGA:.3f}",
        f"{row.floor:.4g}",
        f"{row.share:.0%}",
    ]
    if compared:
        cells += [f"{row.against:.4g}", f"{row.against / row.seconds:.2f}"] if row.against else ["", ""]
    return cells


def _loading(loading: Loading) -> str:
    peak = f"; {loading.peak / GIGA:.2f} GB of memory at most with one page" if loading.peak else ""
    return f"{loading.system}: loaded in {loading.seconds:.1f} s{peak}"
