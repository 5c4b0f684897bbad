"""`folioscope evaluate`: how right readings are, by the published definitions of each metric."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer

from folioscope.cli.options import Quiet
from folioscope.cli.report import Report
from folioscope.docstrings import described
from folioscope.evaluate.options import EvaluateOptions

SHOWN = 20
"""Missing pages that are named on stderr; --json names all."""


def _option(name: str, **settings: Any) -> Any:
    return typer.Option(help=described(EvaluateOptions, name), **settings)


def evaluate(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="What `read` or `batch` wrote.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="What stands there: texts, or facts, or both.")],
    metric: Annotated[str, _option("metric")] = EvaluateOptions.metric,
    text: Annotated[str, _option("text")] = EvaluateOptions.text,
    partial: Annotated[bool, typer.Option("--partial", help=described(EvaluateOptions, "partial"))] = False,
    worst: Annotated[int, _option("worst", min=0)] = EvaluateOptions.worst,
    pages: Annotated[bool, typer.Option("--pages", help="List every page.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables, with every page and fact.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Compare PREDICTIONS with TRUTH, page by page, matched by their names.

    Each side is a folder or a file: Markdown, plain text, JSON of documents, results of `batch`. A page that is on one
    side only is a line on stderr, counts as wrong, and makes the exit code 1.
    """
    options = EvaluateOptions(metric, text, partial, worst)
    report = Report(quiet)
    from folioscope.evaluate.report import as_json, as_text, complaints
    from folioscope.evaluate.run import evaluate as compare

    with report.progress(1):
        found = compare(predictions, truth, options, now=report.now)
    missing = list(complaints(found))
    for line in missing[:SHOWN]:
        report.error(line)
    if len(missing) > SHOWN:
        report.error(f"{len(missing) - SHOWN} more pages are on one side only: see --json")
    if found.left_out:
        report.warning(f"{len(found.left_out)} pages have no truth, such as {found.left_out[0]}; left out")
    report.data(
        json_format.dumps(as_json(found), indent=2, ensure_ascii=False) + "\n" if json else as_text(found, worst, pages)
    )
    raise typer.Exit(report.exit_code)
