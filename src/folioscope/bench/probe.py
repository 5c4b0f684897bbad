"""A process of its own that loads a checkpoint and does one page or image: seconds, and memory at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from folioscope.bench.against import TheirReader, TheirSegmenter, transformers
from folioscope.bench.result import BenchOptions, Loading
from folioscope.bench.stages import TILE
from folioscope.bench.systems import OurReader, OurSegmenter
from folioscope.config import OcrConfig, SamConfig
from folioscope.storage import read_json
from folioscope.types import CheckpointError

STATUS = Path("/proc/self/status")
PROMPT, NEW_TOKENS = 900, 8


def probe(network: str, system: str, folder: Path, options: BenchOptions) -> Loading:
    """Run this module as a program. Raises CheckpointError if it fails."""
    tiles = options.tiles if network == "reader" and options.mode == "gundam" else ""
    command = [sys.executable, "-m", __name__, network, system, str(folder), options.weights, tiles]
    threads = {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckpointError(f"{folder}: {system} failed in a process of its own: {done.stderr.strip()[-300:]}")
    return Loading(system, **json.loads(done.stdout.splitlines()[-1]))


@torch.inference_mode()
def main(network: str, system: str, folder: str, dtype: str, tiles: str) -> None:
    """Print {"seconds", "peak"}."""
    kinds = (OurReader, TheirReader) if network == "reader" else (OurSegmenter, TheirSegmenter)
    kind = next(kind for kind in kinds if kind.name == system)
    if system == TheirReader.name:
        transformers()  # importing it is not loading
    start = time.perf_counter()
    loaded = kind(Path(folder), dtype)
    seconds = time.perf_counter() - start
    published = read_json(Path(folder) / "config.json")
    if network == "reader":
        _read_page(loaded, OcrConfig.from_dict(published).view_sizes[-1], tiles)
    else:
        _cut_image(loaded, SamConfig.from_dict(published).vit.image_size)
    print(json.dumps({"seconds": seconds, "peak": _peak()}))


def _read_page(system: Any, side: int, tiles: str) -> None:
    columns, rows = (int(count) for count in tiles.split("x")) if tiles else (0, 0)
    cut = torch.rand(columns * rows, 3, TILE, TILE) if tiles else None
    system.page(torch.rand(1, 3, side, side), cut, (columns, rows))
    ids = torch.randint(100, (PROMPT + NEW_TOKENS, 1))
    state = system.prefill(ids[:PROMPT].T, NEW_TOKENS)
    for token in ids[PROMPT:]:
        system.step(state, token)


def _cut_image(system: Any, side: int) -> None:
    embedding = system.embed(torch.randn(1, 3, side, side))[0]
    system.click(embedding, torch.full((1, 2), side / 2))


def _peak() -> int | None:
    """Bytes; getrusage would count the process that started this one."""
    if not STATUS.exists():
        return None
    lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines())
    return 1024 * int(lines["VmHWM"].removesuffix("kB"))


if __name__ == "__main__":
    main(*sys.argv[1:])
