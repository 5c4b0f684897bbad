"""`folioscope batch`: piles of documents → results in a folder that any number of machines may work at."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from folioscope.batch.settings import Here, Settings
from folioscope.cli.options import Quiet, Revision, part, with_options_of
from folioscope.cli.report import Report
from folioscope.docstrings import described
from folioscope.types import ExportOptions, InputError, TrustOptions

if TYPE_CHECKING:
    from folioscope.batch.plan import Run
    from folioscope.batch.summary import Summary

SHOWN = 20
"""Failed documents that are named on stderr; all are in summary.json."""


def _setting(name: str, *flags: str, **limits: Any) -> Any:
    return typer.Option(*flags, help=described(Settings, name), **limits)


def _here(name: str, *flags: str, **limits: Any) -> Any:
    return typer.Option(*flags, help=described(Here, name), **limits)


@with_options_of(ExportOptions)
@with_options_of(TrustOptions)
def batch(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Images, PDFs, folders or patterns of them, and URLs that fsspec knows."),
    ] = None,
    out: Annotated[str, _here("out", "-o", "--output", metavar="OUT")] = ...,  # type: ignore[assignment]
    workers: Annotated[int, typer.Option(min=1, help="Processes that read.")] = 1,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="What starts the workers.")] = "local",
    gpus: Annotated[float, typer.Option(min=0, help="With ray: each worker's share of a GPU, such as 0.25.")] = 0.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT as it was begun.")] = False,
    recompute: Annotated[bool, typer.Option("--recompute", help="Remove the run in OUT and begin again.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Only show how far the run in OUT is.")] = False,
    max_page_error_rate: Annotated[float, _setting("max_page_error_rate", min=0, max=1)] = Settings.max_page_error_rate,
    formats: Annotated[str, _setting("formats", "--format")] = ",".join(Settings.formats),
    prompt: Annotated[str, _setting("prompt")] = Settings.prompt,
    mode: Annotated[str | None, _setting("mode")] = Settings.mode,
    dpi: Annotated[float | None, _setting("dpi", min=1)] = Settings.dpi,
    password: Annotated[str | None, _here("password")] = Here.password,
    model: Annotated[str | None, _setting("model")] = Settings.model,
    revision: Revision = Settings.revision,
    device: Annotated[str, _here("device")] = Here.device,
    dtype: Annotated[str, _setting("dtype")] = Settings.dtype,
    threads: Annotated[int | None, _here("threads", min=1)] = Here.threads,
    max_new_tokens: Annotated[int | None, _setting("max_new_tokens")] = Settings.max_new_tokens,
    temperature: Annotated[float, _setting("temperature")] = Settings.temperature,
    seed: Annotated[int | None, _setting("seed")] = Settings.seed,
    batch_size: Annotated[int, _setting("batch_size", min=1)] = Settings.batch_size,
    lease: Annotated[float, _here("lease", min=1)] = Here.lease,
    quiet: Quiet = False,
    **more: Any,
) -> None:
    """Read piles of documents into OUT, with any number of workers, on any number of machines that see OUT.

    The same command joins a run from another machine, and goes on with one that was interrupted; what is done is not
    done again. A document that cannot be read is a line on stderr and makes the exit code 1.
    """
    here = Here(out, device, password, lease, threads)
    report = Report(quiet)
    if stats:
        typer.echo("\n".join(_summary(_existing(out)).lines()))
        return
    from folioscope.batch.begin import begin

    settings = Settings(
        prompt, mode, dpi, _names(formats), model, revision, dtype, max_new_tokens, temperature, seed, batch_size,
        max_page_error_rate, part(TrustOptions, more), part(ExportOptions, more),
    )  # fmt: skip
    run = begin(sources or [], out, settings, resume=resume, recompute=recompute)
    _work(run, here, engine, workers, gpus, report)
    _finish(run, report)
    raise typer.Exit(report.exit_code)


def _names(formats: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in formats.split(",") if name.strip())


def _existing(out: str) -> Run:
    from folioscope.batch.place import place_of
    from folioscope.batch.plan import Run

    run = Run.open(place_of(out))
    if run is None:
        raise InputError(f"{out}: no run was begun here")
    return run


def _summary(run: Run) -> Summary:
    from folioscope.batch.summary import summarise

    return summarise(run)


def _work(run: Run, here: Here, engine: str, workers: int, gpus: float, report: Report) -> None:
    """Work at what is left of the run, with a bar over its groups of documents."""
    from folioscope import hub

    hub.resolve(run.settings.model, revision=run.settings.revision)  # fetched once, and not by every worker
    with report.progress(1):

        def progress() -> None:
            done, groups = len(run.place.names("results")), run.groups
            report.portion(done, groups)
            report.now(f"{done} of {groups} groups of documents")

        if engine == "ray":
            from folioscope.batch.ray_data import run_on_ray

            run_on_ray(run, here, workers, gpus, progress)
        else:
            from folioscope.batch.local import run_local

            run_local(run, here, workers, progress)


def _finish(run: Run, report: Report) -> None:
    """Write the summary and show it, and name the documents that failed."""
    summary = _summary(run)
    run.place.replace("summary.json", json.dumps(summary.as_json(), indent=2, ensure_ascii=False).encode() + b"\n")
    for source, error in summary.failed[:SHOWN]:
        report.error(error if str(error).startswith(source) else f"{source}: {error}")
    if len(summary.failed) > SHOWN:
        report.error(f"{len(summary.failed) - SHOWN} more documents failed: see summary.json")
    report.data("".join(f"{line}\n" for line in summary.lines()))
