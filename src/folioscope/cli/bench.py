"""`folioscope bench`: how fast this machine runs both networks, and how fast it could."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from folioscope.bench.result import BenchOptions
from folioscope.cli.options import described
from folioscope.cli.report import Report


def option(name: str, **settings: Any) -> Any:
    """The option for a field of BenchOptions."""
    return typer.Option(help=described(BenchOptions, name), **settings)


def bench(
    network: Annotated[Literal["reader", "segmenter"], typer.Argument(help="DeepSeek-OCR or Segment Anything.")],
    dtype: Annotated[str | None, option("dtype")] = BenchOptions.dtype,
    mode: Annotated[str, option("mode")] = BenchOptions.mode,
    tiles: Annotated[str, option("tiles")] = BenchOptions.tiles,
    batch: Annotated[int, option("batch", min=1)] = BenchOptions.batch,
    size: Annotated[str, option("size")] = BenchOptions.size,
    against: Annotated[str | None, option("against")] = BenchOptions.against,
    parts: Annotated[str, option("parts")] = BenchOptions.parts,
    runs: Annotated[int, option("runs", min=1)] = BenchOptions.runs,
    threads: Annotated[int | None, option("threads", min=1)] = BenchOptions.threads,
    checkpoint: Annotated[Path | None, option("checkpoint", metavar="DIR", file_okay=False)] = BenchOptions.checkpoint,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Measure each stage beside what this machine could do at most; without any weights but random ones."""
    options = BenchOptions(dtype, mode, tiles, batch, size, against, parts, runs, threads, checkpoint)
    from folioscope.bench import report, run

    measured = run.bench(network, options, Report(quiet).say)
    text = json_format.dumps(report.as_json(measured), indent=2) + "\n" if json else report.as_text(measured)
    Report(quiet).data(text)
