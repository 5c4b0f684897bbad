"""The stages of both networks, one after the other, every system in turn within each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import cycle

import torch

from folioscope.bench import work
from folioscope.bench.result import BenchOptions, Row, Work
from folioscope.bench.systems import ReaderSystem, SegmenterSystem
from folioscope.bench.timing import best, typical
from folioscope.config import OcrConfig, SamConfig

PREFILLS = (273, 900)
"""Positions of a page of one view, and of one of six tiles with a prompt, as the published modes have them."""

CONTEXTS = (300, 4000)
BATCH_CONTEXT = 300
STEPS = 24
TILE = 640
PROMPTS = (1, 64)

Say = Callable[[str], None]


def reader_rows(
    systems: Mapping[str, ReaderSystem], config: OcrConfig, options: BenchOptions, say: Say
) -> Iterator[Row]:
    """Vision by view and by page, prefill, decoding."""
    if options.wants("vision"):
        yield from _vision(systems, config, options, say)
    if options.wants("prefill"):
        yield from (_prefill(systems, config, options, new, say) for new in PREFILLS)
    if options.wants("decode"):
        for past, batch in [(past, 1) for past in CONTEXTS] + [(BATCH_CONTEXT, options.batch)] * (options.batch > 1):
            yield _decoding(systems, config, options, past, batch, say)


def _vision(systems: Mapping[str, ReaderSystem], config: OcrConfig, options: BenchOptions, say: Say) -> Iterator[Row]:
    side, (columns, rows) = config.view_sizes[-1], options.grid
    view, tiles = torch.rand(1, 3, side, side), torch.rand(columns * rows, 3, TILE, TILE)
    weights = work.encoder_weights(config, options.weights)
    whole, part = (work.encoder(config, size) + weights for size in (side, TILE))
    say(stage := f"vision, one {side} view")
    runs = {name: partial(system.encode, view) for name, system in systems.items()}
    yield _row(stage, best(runs, options.runs), whole)
    if options.mode == "gundam":
        say(stage := f"vision, one {TILE} tile")
        runs = {name: partial(system.encode, tiles[:1]) for name, system in systems.items()}
        yield _row(stage, best(runs, options.runs), part)
        say(stage := f"vision, page of view and {len(tiles)} tiles")
        runs = {name: partial(system.page, view, tiles, (columns, rows)) for name, system in systems.items()}
        yield _row(stage, best(runs, max(1, options.runs - 1)), whole + part.times(len(tiles)))


def _prefill(systems: Mapping[str, ReaderSystem], config: OcrConfig, options: BenchOptions, new: int, say: Say) -> Row:
    say(stage := f"prefill, {new} positions")
    ids = torch.randint(config.decoder.vocab_size, (1, new))
    runs = {name: partial(system.prefill, ids, 1) for name, system in systems.items()}
    return _row(stage, best(runs, options.runs), work.decoder(config.decoder, options.weights, new=new), tokens=new)


def _decoding(
    systems: Mapping[str, ReaderSystem], config: OcrConfig, options: BenchOptions, past: int, batch: int, say: Say
) -> Row:
    say(stage := f"decode, context {past}, batch {batch}")
    ids = torch.randint(config.decoder.vocab_size, (batch, past))
    chosen = torch.randint(config.decoder.vocab_size, (STEPS + 1, batch))
    runs = {}
    for name, system in systems.items():
        state, following = system.prefill(ids, 2 * STEPS), cycle(chosen)
        runs[name] = partial(_step, system, state, following)
    needed = work.decoder(config.decoder, options.weights, new=1, past=past, batch=batch)
    return _row(stage, typical(runs, STEPS), needed, tokens=batch)


def _step(system: ReaderSystem, state: object, following: Iterator[torch.Tensor]) -> None:
    system.step(state, next(following))


def segmenter_rows(
    systems: Mapping[str, SegmenterSystem], config: SamConfig, options: BenchOptions, say: Say
) -> Iterator[Row]:
    """Image encoder, mask decoder, click to masks."""
    side = config.vit.image_size
    for batch in sorted({1, options.batch}) if options.wants("vision") else ():
        say(stage := f"image encoder, {side}, batch {batch}")
        runs = {name: partial(system.embed, torch.randn(batch, 3, side, side)) for name, system in systems.items()}
        needed = work.vit(config.vit, side).times(batch) + work.vit_weights(config.vit, options.weights)
        yield _row(stage, best(runs, options.runs), needed)
    if not options.wants("masks"):
        return
    seen = {name: system.embed(torch.randn(1, 3, side, side))[0] for name, system in systems.items()}
    for count in PROMPTS:
        clicks, needed = side * torch.rand(count, 2), work.masks(config, count)
        runs = options.runs if count > 1 else 5 * options.runs
        say(stage := f"mask decoder, prompts: {count}")
        decodes = {name: partial(system.decode, seen[name], clicks) for name, system in systems.items()}
        yield _row(stage, best(decodes, runs), needed)
        say(stage := f"click to masks, prompts: {count}")
        whole = {name: partial(system.click, seen[name], clicks) for name, system in systems.items()}
        yield _row(stage, best(whole, runs), needed)


def _row(stage: str, seconds: Mapping[str, float], needed: Work, tokens: int = 0) -> Row:
    """Its floor comes when the ceilings are known."""
    ours, *others = seconds.values()
    return Row(stage, ours, needed, floor=0.0, tokens=tokens, against=others[0] if others else None)
