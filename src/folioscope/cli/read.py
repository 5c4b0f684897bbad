"""`folioscope read`: images and PDFs → Markdown on stdout, or files in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folioscope.cli.cut import Cutter, check_cut
from folioscope.cli.inputs import sources_of
from folioscope.cli.options import (
    Device,
    Force,
    Output,
    Quiet,
    Revision,
    generate_option,
    part,
    with_options_of,
)
from folioscope.cli.report import Report
from folioscope.config import MODES
from folioscope.types import Document, ExportOptions, GenerateOptions, InputError, PageResult, TrustOptions

if TYPE_CHECKING:
    from folioscope.read import Reader

FORMATS = "md,json,overlay"
"""Written where nothing is asked for."""

ALL_FORMATS = "md, json, txt, html, hocr, alto, pdf, doctags, csv, overlay"


@dataclass(frozen=True)
class Target:
    """Where the files of one input go."""

    folder: Path
    formats: Sequence[str]
    stem: str
    force: bool


@with_options_of(ExportOptions)
@with_options_of(TrustOptions)
def read(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Images, PDFs, folders or patterns of them, or URLs of these; - is stdin."),
    ],
    output: Output = None,
    formats: Annotated[
        str | None, typer.Option("--format", help=f"What to write, by commas, of {ALL_FORMATS}; without, {FORMATS}.")
    ] = None,
    prompt: Annotated[
        str, typer.Option(help='markdown, ocr, free, figure, describe, locate:WORDS, or a text with one "<image>".')
    ] = "markdown",
    mode: Annotated[
        str | None, typer.Option(help=f"{', '.join(MODES)}; without, what suits the checkpoint and the page.")
    ] = None,
    pages: Annotated[str | None, typer.Option(help='Pages of each input, from 1: "1-4", "1,3,8-".')] = None,
    dpi: Annotated[
        float | None,
        typer.Option(min=1, help="Resolution PDFs are rendered in; without, 144, or more for small type and scans."),
    ] = None,
    password: Annotated[str | None, typer.Option(help="Opens encrypted PDFs.")] = None,
    model: Annotated[str | None, typer.Option(help="A checkpoint's folder or hub id; without, the embedded.")] = None,
    revision: Revision = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of a LoRA adapter to merge into the model.")] = None,
    cut: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Cut the regions with this label out of their pages, as clear PNGs."),
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="What --cut cuts with: a folder, .pth file or hub id; without, the embedded.")
    ] = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16; int8 or int4 on a CPU.")] = "auto",
    stream: Annotated[bool, typer.Option("--stream", help="Print the model's text as it is decoded.")] = False,
    force: Force = False,
    max_new_tokens: Annotated[int | None, generate_option("max_new_tokens")] = GenerateOptions.max_new_tokens,
    temperature: Annotated[float, generate_option("temperature")] = GenerateOptions.temperature,
    seed: Annotated[int | None, generate_option("seed")] = GenerateOptions.seed,
    batch_size: Annotated[int, typer.Option(min=1, help="Pages of an input decoded at a time.")] = 1,
    quiet: Quiet = False,
    **more: Any,
) -> None:
    """Read images and PDFs: Markdown on stdout or, with -o, files.

    An input that cannot be read, or a page, is a line on stderr and makes the exit code 1; the others are read all the
    same. A page that cannot be trusted is read again in other ways; if none of them helps, it is kept, with a warning.
    """
    from folioscope.pages import page_ranges
    from folioscope.read import Reader, choose_mode
    from folioscope.tokens import prompt_text

    report = Report(quiet)
    chosen: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    GenerateOptions(**chosen)  # wrong options are refused before anything is loaded
    prompt_text(prompt)
    page_ranges(pages)
    how: dict[str, Any] = {"prompt": prompt, "mode": choose_mode(mode), "pages": pages, "dpi": dpi}
    how |= {"password": password, "trust": part(TrustOptions, more)}
    export = part(ExportOptions, more)
    if stream and batch_size > 1:
        raise InputError("--stream shows one page at a time: leave out --batch-size")
    check_cut(cut, segmenter, output)
    targets = _targets(sources_of(paths, report), output, formats, force, report)
    if targets:
        reader = Reader.from_pretrained(model, device=device, dtype=dtype, adapter=adapter, revision=revision)
        cutter = Cutter.load(cut, segmenter, device) if cut else None
        how |= {"options": replace(reader.options, **chosen), "batch_size": batch_size}
        with report.progress(len(targets), hidden=stream):
            for source, target in targets.items():
                with report.input(source):
                    document = _read(reader, source, how, stream, report)
                    _deliver(document, source, target, export, stream, report)
                    if cutter and target:
                        cutter.save(document, target.folder, target.stem, target.force, report)
    raise typer.Exit(report.exit_code)


def _targets(
    sources: Sequence[str], output: Path | None, formats: str | None, force: bool, report: Report
) -> dict[str, Target | None]:
    """Each source and where it goes, None being stdout, without those whose files are there already."""
    from folioscope.export import planned, stems_of

    if output is None:
        if formats not in (None, "md"):
            raise InputError(f'--format "{formats}": needs -o DIR; without it, Markdown goes to stdout')
        return dict.fromkeys(sources)
    names = [name.strip() for name in (formats or FORMATS).split(",")]
    targets: dict[str, Target | None] = {}
    for source, stem in zip(sources, stems_of(sources), strict=True):
        there = [] if force else [output / name for name in planned(stem, names) if os.path.lexists(output / name)]
        if there:
            report.error(f"{source}: {there[0]} is there already; --force overwrites it")
        else:
            targets[source] = Target(output, names, stem, force)
    return targets


def _read(reader: Reader, source: str, how: Mapping[str, Any], stream: bool, report: Report) -> Document:
    results: list[PageResult] = []
    with closing(reader.stream(source, **how)) as events:
        for event in events:
            report.now(f"{source}, page {event.page}")
            if stream and event.restart:
                report.block("")
                report.warning(f"{source}, page {event.page}: what came of it so far is void ({event.restart})")
            if stream:
                report.block(event.text, ends=event.result is not None)
            if event.result:
                results.append(event.result)
    results.sort(key=lambda result: result.number)
    return Document(results[0].source, tuple(results))


def _deliver(
    document: Document, source: str, target: Target | None, export: ExportOptions, stream: bool, report: Report
) -> None:
    """Say what is wrong with pages, and give out the others; of a document without any, nothing is written."""
    from folioscope.export import save

    for page in document:
        where = source if len(document.pages) == 1 else f"{source}, page {page.number}"
        if page.status == "failed":
            report.error(page.error if str(page.error).startswith(source) else f"{where}: {page.error}")
        elif complaint := _complaint(page):
            report.warning(f"{where}: {complaint}")
    if all(page.status == "failed" for page in document):
        return
    if target:
        stem, force = target.stem, target.force
        written = save(document, target.folder, target.formats, force=force, stem=stem, options=export)
        report.data("".join(f"{path}\n" for path in written))
    elif not stream:
        report.block(document.to_markdown(export))


def _complaint(page: PageResult) -> str:
    """What a person should know about a page that was read, in a few words; empty if nothing."""
    tokens = sum(attempt.output_tokens for attempt in page.attempts if attempt.kept)
    coverage = f"only {page.coverage or 0:.0%} of its ink lies inside regions"
    if page.status == "truncated":
        return f"stopped after {tokens} tokens, before its end"
    if page.status == "repeated":
        return f"stopped after {tokens} tokens, in a loop"
    if page.status == "fallback":
        return "no reading could be trusted: this is the text that the PDF holds"
    if "nonsense" in page.doubts:
        return f"reads as nonsense, or the model was not sure of it (confidence {page.confidence or 0:.2f})"
    return coverage if "coverage" in page.doubts else ""
