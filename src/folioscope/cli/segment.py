"""`folioscope segment`: images and prompts → masks, as files in a folder or as JSON on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folioscope.cli.inputs import sources_of
from folioscope.cli.options import Device, Force, Output, Quiet, Revision, with_options_of
from folioscope.cli.prompts import BOX, POINT, Asked, asked_objects
from folioscope.cli.report import Report
from folioscope.masks import EverythingOptions, Mask
from folioscope.types import InputError, OutputError

if TYPE_CHECKING:
    from folioscope.export.mask_files import ImageMasks
    from folioscope.segment import Segmenter

FORMATS = "png,json,overlay"


@dataclass(frozen=True)
class Task:
    """What is done with every image.

    Attributes:
        objects: What is asked for, if it is not everything.
        everything: What is said of how everything is cut out, if everything is asked for; the rest is the segmenter's.
        multimask: Whether each object gets three masks.
        keep_in: Folder of embeddings, or None.
    """

    objects: Sequence[Asked]
    everything: Mapping[str, Any] | None
    multimask: bool
    keep_in: Path | None


@with_options_of(EverythingOptions, "point_grids", given_only=True)
def segment(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Images, folders or patterns of them; - is stdin.")
    ],
    points: Annotated[
        list[str] | None,
        typer.Option("--point", metavar=POINT, help="A pixel on the object, or with LABEL 0 one beside it."),
    ] = None,
    boxes: Annotated[
        list[str] | None,
        typer.Option("--box", metavar=BOX, help="A box around the object; several are several objects."),
    ] = None,
    mask: Annotated[
        str | None, typer.Option(metavar="PNG", help="A rough mask of the image's size: white on the object.")
    ] = None,
    objects: Annotated[
        list[str] | None,
        typer.Option("--object", metavar='"PROMPT …"', help="One more object: its points, box, mask between blanks."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Cut out everything, without a prompt.")] = False,
    output: Output = None,
    formats: Annotated[
        str | None,
        typer.Option("--format", help=f"png, json, overlay, cutout, coco, polygons, by commas; without, {FORMATS}."),
    ] = None,
    single: Annotated[
        bool, typer.Option("--single", help="One mask for each object, not three to choose from.")
    ] = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Keep the images' embeddings here, and use those kept."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A checkpoint's folder, .pth file or hub id; without, the embedded.")
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16; int8 on a CPU.")] = "auto",
    force: Force = False,
    quiet: Quiet = False,
    **grid: Any,
) -> None:
    """Cut objects out of images: with -o as files, else as JSON on stdout.

    Say what to cut out with --point, --box and --mask, which together mean one object; with --object once for each of
    several; or with --all. Places are in pixels of the image, from its left top. The options from --points-per-side on
    belong to --all; in brackets are their defaults, but the embedded segmenter has thresholds of its own. An image that
    fails is a line on stderr and makes the exit code 1; the others are cut all the same.
    """
    report = Report(quiet)
    asked = asked_objects(points or [], boxes or [], mask, objects or [])
    task = Task(asked, _options(grid, everything, bool(asked)), not single, embeddings)
    names = _formats(formats, output)
    sources = sources_of(images, report)
    if output and not force:
        _refuse_what_is_there(output, len(sources), names)
    if sources:
        from folioscope.segment import Segmenter

        segmenter = Segmenter.from_pretrained(model, device=device, dtype=dtype, revision=revision)
        _segment(segmenter, sources, task, output, names, force, report)
    raise typer.Exit(report.exit_code)


def _options(grid: Mapping[str, Any], everything: bool, asked: bool) -> dict[str, Any] | None:
    """What is said of `--all`. Raises InputError if it cannot be, or if it is not everything that is asked for."""
    given = {name: value for name, value in grid.items() if value is not None}
    if everything:
        if asked:
            raise InputError("--all: needs no prompt; leave out --point, --box, --mask and --object, or --all")
        EverythingOptions(**given)
        return given
    for name in given:
        raise InputError(f"--{name.replace('_', '-')}: belongs to --all")
    if not asked:
        raise InputError("nothing is asked for: give --point, --box, --mask, --object or --all")
    return None


def _formats(formats: str | None, output: Path | None) -> list[str]:
    from folioscope.export.mask_files import checked_formats

    names = checked_formats([name.strip() for name in (formats or FORMATS).split(",")])
    if output is None and formats not in (None, "json"):
        raise InputError(f'--format "{formats}": needs -o DIR; without it, JSON goes to stdout')
    return names


def _refuse_what_is_there(folder: Path, count: int, formats: Sequence[str]) -> None:
    """Before the work, not after it."""
    from folioscope.export.mask_files import RUN_FILES

    there = [path for name in formats if name in RUN_FILES and (path := folder / RUN_FILES[name]).exists()]
    there += [path for number in range(count) for path in sorted(folder.glob(f"image_{number}_*"))]
    if there:
        raise OutputError(f"{there[0]}: is there already; --force overwrites it")


def _segment(
    segmenter: Segmenter,
    sources: Sequence[str],
    task: Task,
    output: Path | None,
    formats: Sequence[str],
    force: bool,
    report: Report,
) -> None:
    """Each image's files are written when it is done, and what is said of all of them at the end."""
    from folioscope.export.files import write
    from folioscope.export.mask_files import image_files, masks_json, run_files

    done: list[ImageMasks] = []

    def deliver(files: Any) -> None:
        if output and files:
            report.data("".join(f"{path}\n" for path in write(output, files, force=force)))

    with report.progress(len(sources)):
        for number, source in enumerate(sources):
            with report.input(source):
                found = _cut(segmenter, number, source, task, report)
                deliver(image_files(found, formats))
                done.append(found.for_records())
    if done and output:
        deliver(run_files(done, formats))
    elif done:
        report.data(masks_json(done))


def _cut(segmenter: Segmenter, number: int, source: str, task: Task, report: Report) -> ImageMasks:
    """Embed one image and cut out what is asked for; of a PDF or TIFF, the first page."""
    from folioscope.export.mask_files import ImageMasks
    from folioscope.pages import open_page

    page = open_page(source)
    objects: list[list[Mask]]
    if task.everything is not None:
        options = replace(segmenter.options, **task.everything)
        masks = segmenter.segment_all(page, options, progress=report.portion, keep_in=task.keep_in)
        objects = [[mask] for mask in masks]
        if not masks:
            report.warning(f"{source}: no mask is good enough; lower --pred-iou-thresh or --stability-score-thresh")
    else:
        scene = segmenter.embed(page, keep_in=task.keep_in)
        prompts = [asked.prompt(scene) for asked in task.objects]
        objects = segmenter.predict_many(scene, prompts, multimask=task.multimask)
    return ImageMasks(number, source, page.image.size, objects, page.image)
