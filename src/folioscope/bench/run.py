"""The story of a measurement: checkpoint, ceilings, stages, a process of its own for loading and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from folioscope import hub
from folioscope.bench import ceilings
from folioscope.bench.against import TheirReader, TheirSegmenter, transformers
from folioscope.bench.checkpoint import copy_tokenizer, write_reader, write_segmenter
from folioscope.bench.probe import probe
from folioscope.bench.result import Bench, BenchOptions, Row
from folioscope.bench.stages import reader_rows, segmenter_rows
from folioscope.bench.systems import OurReader, OurSegmenter
from folioscope.config import OcrConfig, SamConfig
from folioscope.native.library import levels
from folioscope.placement import threads
from folioscope.quantize import QUANTISED, quantise
from folioscope.storage import read_json
from folioscope.types import CheckpointError

Say = Callable[[str], None]


def bench(network: str, options: BenchOptions, say: Say = lambda doing: None) -> Bench:
    """Measure the "reader" or the "segmenter"; `say` is told what is being done.

    Raises:
        InputError: The other library is not here.
        CheckpointError: There is no embedded checkpoint.
        OutputError: The random weights cannot be written.
    """
    if options.against:
        transformers()  # refused before minutes of work
    with threads(options.threads), _folder(network, options, say) as folder:
        say("the machine's ceilings")
        machine = ceilings.measure(_path())
        rows = _rows(network, folder, options, say)
        machine = ceilings.best_of(machine, ceilings.measure(_path()))
        say("loading, and one page, in a process of its own")
        names = _systems(network, options) if options.wants("loading") else ()
        loading = tuple(probe(network, name, folder, options) for name in names)
    rows = tuple(replace(row, floor=machine.floor(row.work, options.weights)) for row in rows)
    return Bench(network, options, machine, rows, loading)


def _path() -> str:
    """What computes: torch alone, or the native kernels too, at the level that this processor runs."""
    return f"native {levels()[-1]}" if levels() else "torch"


def _systems(network: str, options: BenchOptions) -> dict[str, Callable[[Path, str], Any]]:
    """Who is measured, ours first, and how each is loaded."""
    kinds = (OurReader, TheirReader) if network == "reader" else (OurSegmenter, TheirSegmenter)
    return {kind.name: kind for kind in (kinds if options.against else kinds[:1])}


@torch.inference_mode()
def _rows(network: str, folder: Path, options: BenchOptions, say: Say) -> tuple[Row, ...]:
    if not any(options.wants(part) for part in ("vision", "prefill", "decode", "masks")):
        return ()
    say("loading")
    systems = {name: load(folder, options.weights) for name, load in _systems(network, options).items()}
    published = read_json(folder / "config.json")
    if network == "reader":
        return tuple(reader_rows(systems, OcrConfig.from_dict(published), options, say))
    return tuple(segmenter_rows(systems, SamConfig.from_dict(published), options, say))


@contextmanager
def _folder(network: str, options: BenchOptions, say: Say) -> Iterator[Path]:
    """The checkpoint to measure, gone afterwards unless it is to be kept."""
    if options.size == "embedded":
        embedded = hub.EMBEDDED.with_name(network)
        if not embedded.is_dir():
            raise CheckpointError(f"{embedded}: this installation has no embedded {network}; leave out --size embedded")
        yield embedded
        return
    with TemporaryDirectory(prefix="folioscope-bench-") as temporary:
        folder = options.checkpoint or Path(temporary)
        if not (folder / "config.json").is_file():
            say("writing random weights of the published size")
            folder.mkdir(parents=True, exist_ok=True)
            _write(network, options.weights, folder, say)
        yield folder


def _write(network: str, weights: str, folder: Path, say: Say) -> None:
    """Weights as a user of this dtype would have them: a reader is quantised once, not whenever it is loaded."""
    stored = torch.float32 if weights == "float32" else torch.bfloat16
    if network == "segmenter":
        write_segmenter(folder, stored)
    elif weights not in QUANTISED:
        write_reader(folder, stored)
    else:
        with TemporaryDirectory(dir=folder, prefix=".original-") as original:
            write_reader(Path(original), stored)
            say(f"quantising them to {weights}")
            quantise(original, folder, weights)
            copy_tokenizer(folder)
