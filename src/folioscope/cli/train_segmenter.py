"""`folioscope train segmenter`: make, look at and measure the embedded segmenter."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folioscope.cli.train import MINUTES, SHOWN, run

if TYPE_CHECKING:
    from folioscope.segment import Segmenter

EVERYTHING = 10
"""Of so many composites one is cut up without a prompt: that takes as long as the other prompts together."""


def segmenter(
    out: Annotated[Path, typer.Option(help="Folder of the run, resumed if it is there, and of pictures.")] = Path(
        "runs/segmenter"
    ),
    preview: Annotated[bool, typer.Option("--preview", help="Only draw training pictures with their masks.")] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Only cut out objects that training never saw.")] = False,
    model: Annotated[str | None, typer.Option(help="What to evaluate: a folder or a hub id [the embedded].")] = None,
    init: Annotated[str | None, typer.Option(help="Start a new run from a folder's or hub id's weights.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="COCO.json", help="Fine-tune --init [the embedded] on these images' objects instead."),
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures to preview, or to evaluate of each material.")] = 300,
    minutes: MINUTES = math.inf,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the network; drawing takes a process more.")] = 1,
) -> None:
    """Train the segmenter on pictures composed on the spot; or preview such pictures; or measure a checkpoint."""
    import torch

    from folioscope.train.composites.objects import shelf

    torch.set_num_threads(threads)
    for package in shelf("train").missing:
        typer.echo(f"{package}: not installed (Debian's name); training goes without its objects", err=True)
    if preview:
        _preview(out, pictures)
    elif evaluate:
        _evaluate(model, pictures, out)
    elif data:
        _tune(out, init, data, minutes)
    else:
        _train(out, init, minutes)


def _preview(out: Path, pictures: int) -> None:
    from folioscope.train.segmenter_preview import save_preview
    from folioscope.train.segmenter_recipe import EMBEDDED

    typer.echo(save_preview(out, EMBEDDED.stages[-1].style, pictures))


def _evaluate(model: str | None, pictures: int, out: Path) -> None:
    """Print the tables and the recall without prompts; some objects are drawn, for a person to see."""
    from folioscope.segment import Segmenter
    from folioscope.train.segmenter_evaluate import MATERIALS, Cut, crowding_table, evaluate_cuts, table
    from folioscope.train.segmenter_preview import save_cuts

    checkpoint = Segmenter.from_pretrained(model)
    made: dict[str, list[Cut]] = {material: [] for material in MATERIALS}
    typer.echo(table([evaluate_cuts(checkpoint, material, pictures, made[material].append) for material in MATERIALS]))
    typer.echo(f"\ncomposites\n{crowding_table(made['composites'])}\n")
    _evaluate_everything(checkpoint, max(1, pictures // EVERYTHING))
    cuts = [cut for some in made.values() for cut in some]
    worst = sorted(cuts, key=lambda cut: cut.ious[1])[:SHOWN]
    typer.echo(f"some: {save_cuts(out / 'cuts.png', cuts[:: -(-len(cuts) // SHOWN)])}")
    typer.echo(f"worst: {save_cuts(out / 'worst.png', worst)}")


def _evaluate_everything(checkpoint: Segmenter, pictures: int) -> None:
    from folioscope.train.segmenter_evaluate import FOUND, recall_of_everything

    recall = recall_of_everything(checkpoint, pictures)
    typer.echo(f"everything: {recall:.1%} of the objects of {pictures} composites found with an IoU of {FOUND}")


def _train(out: Path, init: str | None, minutes: float) -> None:
    from folioscope.hub import resolve
    from folioscope.train.segmenter import SegmenterTraining
    from folioscope.train.segmenter_preview import SERIES
    from folioscope.train.segmenter_recipe import EMBEDDED, FURTHER

    training = SegmenterTraining(FURTHER if init else EMBEDDED, out, init=resolve(init) if init else None)
    run(training, {name: SERIES[name] for name in ("dice", "chosen", "kin", "look")}, minutes)


def _tune(out: Path, init: str | None, data: Path, minutes: float) -> None:
    from folioscope.hub import resolve
    from folioscope.segment import EMBEDDED
    from folioscope.train.coco import read_coco
    from folioscope.train.segmenter_preview import SERIES
    from folioscope.train.segmenter_recipe import FINE_TUNING
    from folioscope.train.tuning import SegmenterTuning

    training = SegmenterTuning(FINE_TUNING, out, read_coco(data), resolve(init) if init else EMBEDDED)
    run(training, {name: SERIES[name] for name in ("dice", "chosen", "last")}, minutes)
