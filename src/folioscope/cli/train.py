"""`folioscope train`: make, look at and measure the embedded checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folioscope.types import InputError

if TYPE_CHECKING:
    from PIL import Image

    from folioscope.train.recipe import ReaderRecipe
    from folioscope.train.run import Progress, Training
    from folioscope.train.trials import Trial

SHOWN = 12
MINUTES = Annotated[
    float, typer.Option(min=0, show_default="no limit", help="Train for so long at most; run again to go on.")
]

app = typer.Typer(no_args_is_help=True, help="Train, preview and evaluate the networks that Folioscope ships.")


@app.command()
def reader(
    out: Annotated[Path, typer.Option(help="Folder of the run, resumed if it is there, and of pictures.")] = Path(
        "runs/reader"
    ),
    preview: Annotated[bool, typer.Option("--preview", help="Only draw training pages with their answers.")] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Only read fresh pages of unseen text.")] = False,
    model: Annotated[str | None, typer.Option(help="What to evaluate: a folder or a hub id [the embedded].")] = None,
    init: Annotated[str | None, typer.Option(help="Start a new run from a folder's or hub id's weights.")] = None,
    pages: Annotated[int, typer.Option(min=1, help="Pages to preview, or to evaluate in each trial.")] = 200,
    trial: Annotated[
        list[str] | None, typer.Option(help="Evaluate only this trial; may be repeated. With --draw: pages like its.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Evaluate this reader beside it: tesseract.")] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Only write pages with their answers, as --data takes.")] = False,
    data: Annotated[Path | None, typer.Option(help="Train on pages of your own: a file of JSON lines.")] = None,
    lora: Annotated[int, typer.Option(min=0, help="With --data: train adapters of this rank; 0, all weights.")] = 0,
    freeze: Annotated[str, typer.Option(help="With --data: leave this half as it is, encoder or decoder.")] = "",
    steps: Annotated[int, typer.Option(min=1, help="With --data: how many.")] = 200,
    minutes: MINUTES = math.inf,
    lr: Annotated[float, typer.Option(help="With --data: the highest learning rate.")] = 1e-3,
    device: Annotated[str, typer.Option(help="With --data: where to train: cpu, cuda, mps.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="Evaluate it in float32, bfloat16, float16, int8 or int4.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the network; drawing takes a process more.")] = 1,
) -> None:
    """Train the reader on pages drawn on the spot or your own; or preview such pages; or measure a checkpoint."""
    import torch

    torch.set_num_threads(threads)
    if preview or draw:
        _show(out, pages, init, trial or (), as_data=draw)
    elif evaluate:
        _evaluate(model, dtype, pages, trial or (), against, out)
    elif data:
        _tune(data, out, init, device, minutes, steps=steps, lr=lr, lora=lora, freeze=freeze)
    else:
        _train(out, init, minutes)


def _show(out: Path, pages: int, init: str | None, names: Sequence[str], as_data: bool) -> None:
    from folioscope.train.own_pages import save_pages
    from folioscope.train.preview import save_preview
    from folioscope.train.trials import learnable

    if not as_data:
        typer.echo(save_preview(out, _recipe(init), pages))
        return
    trial, *others = _trials(names or ["domain"])
    if others:
        raise InputError(f"--draw: {len(others) + 1} trials; name one whose pages are to be drawn")
    typer.echo(save_pages(out, learnable(trial), pages))


def _recipe(init: str | None) -> ReaderRecipe:
    from folioscope.train.recipe import EMBEDDED, FURTHER

    return FURTHER if init else EMBEDDED


def _evaluate(model: str | None, dtype: str, count: int, names: Sequence[str], against: str | None, out: Path) -> None:
    """Print the table row by row; the pages read worst are drawn, for a person to see why."""
    import torch

    from folioscope.hub import resolve
    from folioscope.quantize import choose_precision, load_reader
    from folioscope.tokens import Tokenizer
    from folioscope.train.evaluate import Reading, evaluate, table
    from folioscope.train.preview import save_readings

    kind, floats = choose_precision(dtype)
    trials, rival = _trials(names), _rival(against)
    checkpoint = resolve(model)
    network, _ = load_reader(checkpoint, kind=kind, dtype=floats or torch.float32)
    tokenizer = Tokenizer.from_directory(checkpoint)
    readings: list[Reading] = []
    scores = []
    for trial in trials:
        scores.append(evaluate(network, tokenizer, trial, count, readings.append, rival))
        typer.echo(f"{trial.name} done", err=True)
    typer.echo(table(scores))
    worst = sorted(readings, key=lambda reading: reading.edits, reverse=True)[:SHOWN]
    typer.echo(f"read worst: {save_readings(out, worst)}")


def _trials(names: Sequence[str]) -> Sequence[Trial]:
    from folioscope.train.trials import TRIALS

    unknown = set(names) - {trial.name for trial in TRIALS}
    if unknown:
        known = ", ".join(trial.name for trial in TRIALS)
        raise InputError(f'--trial "{min(unknown)}": there is no such trial; choose from {known}')
    return [trial for trial in TRIALS if not names or trial.name in names]


def _rival(name: str | None) -> Callable[[Image.Image], str] | None:
    from folioscope.train.tesseract import PROGRAM, installed, read_with_tesseract

    if name is None:
        return None
    if name != PROGRAM or not installed():
        raise InputError(f'--against "{name}": only an installed {PROGRAM} (Debian: tesseract-ocr) is known')
    return read_with_tesseract


def _train(out: Path, init: str | None, minutes: float) -> None:
    from folioscope.hub import resolve
    from folioscope.train.preview import SERIES
    from folioscope.train.reader import ReaderTraining

    run(ReaderTraining(_recipe(init), out, init=resolve(init) if init else None), SERIES, minutes)


def _tune(data: Path, out: Path, init: str | None, device: str, minutes: float, **how: Any) -> None:
    """Train on pages of one's own, and say what it did to those that were kept apart."""
    from folioscope.hub import resolve
    from folioscope.train.own_pages import load_pages
    from folioscope.train.run import MODEL
    from folioscope.train.tune import Tuning, tune_recipe

    tuning = Tuning(tune_recipe(**how), load_pages(data), resolve(init), out, device)
    before = tuning.measure()
    tuning.run(report, log_every=10, minutes=minutes)
    kept_apart = f"{len(tuning.measured)} pages kept apart"
    typer.echo(f"character errors on {kept_apart}: {before:.2%} before, {tuning.measure():.2%} after")
    typer.echo(out / MODEL)


def run(training: Training[Any, Any], shown: Mapping[str, tuple[int, int, int]], minutes: float) -> None:
    """Train, a line on stderr now and then, beside the machine's rate of large products; then draw the curve."""
    from folioscope.bench.ceilings import product_rate
    from folioscope.train.charts import save_curve
    from folioscope.train.precision import training_dtype
    from folioscope.train.run import LOG

    ceiling = product_rate(training_dtype())
    training.run(lambda progress: report(progress, ceiling), minutes=minutes)
    typer.echo(save_curve(training.folder / LOG, shown))


def report(progress: Progress, ceiling: float | None = None) -> None:
    """A line on stderr; the ceiling in operations a second."""
    means = "  ".join(f"{name} {value:.3f}" for name, value in progress.means.items())
    rate = progress.operations_per_second
    share = "" if ceiling is None else f", {rate / ceiling:.0%} of the rate of large products"
    typer.echo(
        f"step {progress.step}/{progress.steps}  {progress.pictures_per_second:.1f} pictures/s  "
        f"{rate / 1e9:.0f} G operations/s{share}  {progress.minutes_left:.0f} min left  {means}",
        err=True,
    )
