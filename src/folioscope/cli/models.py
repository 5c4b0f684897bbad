"""`folioscope models`: checkpoints in other forms. Prints the paths that it has written."""

from __future__ import annotations

import os
import shutil
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folioscope.cli.report import Report
from folioscope.types import CheckpointError, InputError, OutputError

if TYPE_CHECKING:
    from folioscope.model.sam import Sam
    from folioscope.processing import SamProcessor

app = typer.Typer(no_args_is_help=True, help="Convert, quantize and export checkpoints.")


class Layout(str, Enum):
    hf = "hf"
    meta = "meta"


class Integers(str, Enum):
    int8 = "int8"
    int4 = "int4"


class Exported(str, Enum):
    sam = "sam"


@app.callback()
def _verbs() -> None:
    """Keeps `models` a group however many verbs it has."""


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="A SAM: its folder, .pth file or hub id.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="A folder for hf; a file named *.pth for meta.")],
    layout: Annotated[
        Layout | None, typer.Option(help="hf, transformers' folder, or meta, Meta's file; without, as OUT's name says.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16 for all weights; without, as stored.")
    ] = None,
    max_shard_size: Annotated[str, typer.Option(help='The most a file of a folder may hold, such as "200MB".')] = "5GB",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the hub.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a checkpoint that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Write a Segment Anything checkpoint in the layout of transformers or of Meta.

    Not a number changes unless --dtype says so. Meta's file cannot say which eps the mask decoder's norms have: whoever
    reads it takes Meta's, 1e-5.
    """
    chosen = layout or (Layout.meta if target.suffix == ".pth" else Layout.hf)
    _refuse_overwriting(target, chosen, force)
    report, model = Report(quiet), _sam(source, dtype, revision)
    if chosen is Layout.hf:
        written = _save_folder(model, target, max_shard_size, _processor(source, revision))
    else:
        written = _save_file(model, target, report)
    report.data("".join(f"{path}\n" for path in written))


def _sam(source: str | None, dtype: str | None, revision: str | None) -> Sam:
    from folioscope.segment import Segmenter

    return Segmenter.from_pretrained(source, device="cpu", dtype=dtype, revision=revision).model


def _refuse_overwriting(target: Path, layout: Layout, force: bool) -> None:
    if layout is Layout.meta and target.suffix != ".pth":
        raise InputError(f"{target}: Meta's layout is one file; give it a name that ends in .pth")
    if layout is Layout.hf and os.path.lexists(target) and not target.is_dir():
        raise InputError(f"{target}: is a file; transformers' layout is a folder, so give another name")
    there = target if layout is Layout.meta else target / "config.json"
    if not force and os.path.lexists(there):
        raise OutputError(f"{there}: is there already; --force overwrites it")


def _save_file(model: Sam, target: Path, report: Report) -> list[Path]:
    from folioscope.weights.sam import NORM_EPS, save_sam

    ours, eps = model.config.norm_eps, NORM_EPS["meta"]
    if ours != eps:
        report.warning(f"{target}: what reads it takes Meta's eps in the mask decoder's norms, {eps:g}, not {ours:g}")
    save_sam(model, target, layout="meta")
    return [target]


def _processor(source: str, revision: str | None) -> SamProcessor | None:
    """What came with the weights, if anything did."""
    from folioscope.processing import SamProcessor

    if Path(source).is_file():
        return None
    try:
        return SamProcessor.from_pretrained(source, revision=revision)
    except CheckpointError:
        return None


def _save_folder(model: Sam, target: Path, max_shard_size: str, processor: SamProcessor | None) -> list[Path]:
    """Weights and config, and the processor's settings, by default those of the published model at this size."""
    from folioscope.pretrained import SamModel
    from folioscope.processing import SamImageProcessor, SamProcessor

    side, low = model.config.vit.image_size, 4 * model.config.vit.grid
    sides = {"size": side, "pad_size": side, "mask_size": low, "mask_pad_size": low}
    SamModel(model).save_pretrained(target, max_shard_size=max_shard_size)
    (processor or SamProcessor(SamImageProcessor(**sides))).save_pretrained(target)
    return sorted(path for path in target.iterdir() if path.suffix in (".json", ".safetensors"))


@app.command()
def quantize(
    source: Annotated[str, typer.Argument(metavar="IN", help="A reader: its folder or hub id.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", file_okay=False, help="The folder to write.")],
    dtype: Annotated[Integers, typer.Option(help="Of the decoder's matrices; all else stays as stored.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the hub.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a checkpoint that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Write a reader with weights of 8 or 4 bits, for CPUs. It loads as any other does, and at once.

    read --dtype int8 computes the same from the original checkpoint, but quantises it each time.
    """
    from folioscope import hub
    from folioscope.quantize import quantise

    _refuse_overwriting(target, Layout.hf, force)
    report, folder = Report(quiet), hub.resolve(source, revision=revision)
    if target.is_dir() and target.samefile(folder):
        raise InputError(f"{target}: is what is being read; give another folder")
    quantise(folder, target, dtype.value)
    for pattern in hub.CONFIG_FILES:
        for path in folder.glob(pattern):
            if path.name != "config.json":
                shutil.copyfile(path, target / path.name)
    written = (path for path in target.iterdir() if path.suffix in (".json", ".safetensors"))
    report.data("".join(f"{path}\n" for path in sorted(written)))


@app.command()
def export(
    what: Annotated[Exported, typer.Argument(metavar="sam", help="Segment Anything is what can be exported.")],
    onnx: Annotated[Path, typer.Option(metavar="DIR", help="Write ONNX files into this folder.")],
    model: Annotated[
        str | None, typer.Option(help="A SAM's folder, .pth file or hub id; without, the embedded segmenter.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the hub.")] = None,
    single_mask: Annotated[
        bool,
        typer.Option("--single-mask", help="One mask an object, as Meta's export chooses it, and not four."),
    ] = False,
    decoder_only: Annotated[
        bool, typer.Option("--decoder-only", help="Leave the image encoder out: a browser needs the decoder alone.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files.")] = False,
) -> None:
    """Write a Segment Anything checkpoint for other runtimes: image_encoder.onnx and mask_decoder.onnx.

    The decoder has the inputs of Meta's export, any number of points and objects, and gives masks at the photo's size.
    """
    from folioscope.export.onnx import export_sam

    sam = _sam(model, "float32", revision)
    written = export_sam(sam, onnx, single_mask=single_mask, decoder_only=decoder_only, force=force)
    Report().data("".join(f"{path}\n" for path in written))
