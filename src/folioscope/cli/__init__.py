"""The command `folioscope`: one module a verb. Data goes to stdout, everything else to stderr.

Exit codes: 0, all went well; 1, an input failed; 2, the command was wrong; 130, interrupted.
Heavy modules are imported when a verb runs, so that `--help` is instant.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from folioscope.cli import batch, bench, evaluate, models, read, segment, serve, train, train_segmenter
from folioscope.cli.report import INPUT_FAILED, WRONG_COMMAND, Report
from folioscope.types import FolioscopeError, InputError


class Verbs(TyperGroup):
    """What no verb has dealt with ends in one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FolioscopeError as error:
            Report().error(error)
            raise typer.Exit(WRONG_COMMAND if isinstance(error, InputError) else INPUT_FAILED) from error


app = typer.Typer(
    cls=Verbs, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)
app.command()(read.read)
app.command()(segment.segment)
app.command()(bench.bench)
app.command()(serve.serve)
app.command()(batch.batch)
app.command()(evaluate.evaluate)
train.app.command()(train_segmenter.segmenter)
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")


def _show_version(asked: bool) -> None:
    if asked:
        from folioscope import __version__

        typer.echo(f"folioscope {__version__}")
        raise typer.Exit


@app.callback()
def _folioscope(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Read pages, and cut out what you point at."""


def main() -> None:
    """Run the command."""
    # read when torch is loaded: on a core that others use too, threads that spin while they wait took most of the time
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # UTF-8 wherever it goes, and names of files as the disk has them
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    app()
