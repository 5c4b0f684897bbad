"""`folioscope serve`: reading and segmenting over HTTP, and a page to try them on."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from folioscope.cli.options import Device, Dtype, Revision
from folioscope.docstrings import described
from folioscope.serve.options import ServeOptions, data_folder
from folioscope.types import InputError


def serve_option(name: str, **settings: Any) -> Any:
    """The option for a field of ServeOptions, with the help that its docstring gives."""
    return typer.Option(help=described(ServeOptions, name), **settings)


def serve(
    model: Annotated[str | None, typer.Option(help="A checkpoint's folder or hub id; without, the embedded.")] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="A segmenter's folder, file or hub id; without, the embedded.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is all there are.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key: Annotated[str | None, serve_option("api_key", envvar="FOLIOSCOPE_API_KEY")] = ServeOptions.api_key,
    max_megabytes: Annotated[float, serve_option("max_megabytes")] = ServeOptions.max_megabytes,
    max_pixels: Annotated[int, serve_option("max_pixels")] = ServeOptions.max_pixels,
    max_pages: Annotated[int, serve_option("max_pages")] = ServeOptions.max_pages,
    max_job_pages: Annotated[int, serve_option("max_job_pages")] = ServeOptions.max_job_pages,
    max_tokens: Annotated[int, serve_option("max_tokens")] = ServeOptions.max_tokens,
    max_seconds: Annotated[float, serve_option("max_seconds")] = ServeOptions.max_seconds,
    upload_seconds: Annotated[float, serve_option("upload_seconds")] = ServeOptions.upload_seconds,
    queue: Annotated[int, serve_option("queue")] = ServeOptions.queue,
    slots: Annotated[int, serve_option("slots")] = ServeOptions.slots,
    workers: Annotated[int, serve_option("workers")] = ServeOptions.workers,
    scene_megabytes: Annotated[float, serve_option("scene_megabytes")] = ServeOptions.scene_megabytes,
    scene_minutes: Annotated[float, serve_option("scene_minutes")] = ServeOptions.scene_minutes,
    allow_url: Annotated[list[str] | None, serve_option("allow_url", metavar="HOST")] = None,
    cors: Annotated[list[str] | None, serve_option("cors", metavar="ORIGIN")] = None,
    allow_host: Annotated[list[str] | None, serve_option("allow_host", metavar="HOST")] = None,
    data: Annotated[
        Path | None, serve_option("data", metavar="DIR", file_okay=False, show_default=str(data_folder()))
    ] = None,
    jobs: Annotated[int, serve_option("jobs")] = ServeOptions.jobs,
    job_days: Annotated[float, serve_option("job_days")] = ServeOptions.job_days,
    browser_decoder: Annotated[
        Path | None, serve_option("browser_decoder", metavar="DIR", file_okay=False, exists=True)
    ] = None,
    grace_seconds: Annotated[float, serve_option("grace_seconds")] = ServeOptions.grace_seconds,
    device: Device = "auto",
    dtype: Dtype = "auto",
    revision: Revision = None,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Speak the Model Context Protocol on stdin and stdout, not HTTP.")
    ] = False,
) -> None:
    """Serve reading and segmenting over HTTP, with a page to try them on at /; or to agents."""
    given = locals()
    options = ServeOptions(**{name: _plain(given[name]) for name in _fields() if given[name] is not None})
    models = {"model": model, "segmenter": segmenter, "device": device, "dtype": dtype, "revision": revision}
    if mcp:
        _module("agents", "serve,mcp").run(options, **models)
    else:
        _module("run", "serve").run(options, host=host, port=port, **models)


def _module(name: str, extras: str) -> Any:
    """A module of the server's, or one line saying what brings what it needs."""
    try:
        return import_module(f"folioscope.serve.{name}")
    except ModuleNotFoundError as error:
        raise InputError(f'{error.name} is not installed; `pip install "folioscope[{extras}]"` brings it') from error


def _fields() -> list[str]:
    return list(ServeOptions.__dataclass_fields__)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
