"""A stand-in for the network whose answer depends on what it is shown, so that the ladder of retries can be watched.

A page tells which way up it is by a black block near its top. The stand-in sees the block in its view, and how many
views there are, and writes the answer that a script has for that sight, token by token with the confidence asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from folioscope.config import OcrConfig
from folioscope.read import Reader
from folioscope.tokens import Tokenizer
from folioscope.train.recipe import EMBEDDED_CONFIG
from folioscope.train.vocabulary import save_tokenizer

Sight = Literal["up", "left", "right", "down", "half", "tiles"]
"""Where the top of the page is in the view; or a view of half a page; or one with tiles beside it."""

SIGHTS: Sequence[Sight] = ("up", "left", "right", "down", "half", "tiles")
SLOTS, VIEW = 3, 64


@dataclass(frozen=True)
class Script:
    """What is written for a sight.

    Attributes:
        text: The answer; the end-of-sequence token follows, unless it loops.
        loop: Repeated after the text until something stops it.
        way_out: Probability of leaving the loop at each of its ends, never the likeliest choice.
        confidence: Probability of each token.
    """

    text: str = ""
    loop: str = ""
    way_out: float = 0.0
    confidence: float = 0.99


class StandIn:
    """As much of a network as `Reader` uses."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, tokenizer: Tokenizer, script: Mapping[Sight, Script], views: Sequence[int], positions: int):
        config = {**EMBEDDED_CONFIG, "candidate_resolutions": [[side, side] for side in views]}
        self.config = OcrConfig.from_dict({**config, "max_position_embeddings": positions})
        self.tokenizer, self.script = tokenizer, script
        self.seen: list[Sight] = []

    def image_features(self, global_view: Tensor, tiles: Tensor | None, grid: tuple[int, int]) -> Tensor:
        self.seen.append("tiles" if tiles is not None else sight_of(global_view))
        return torch.full((SLOTS, 1), float(SIGHTS.index(self.seen[-1])))

    def new_cache(self, batch: int, capacity: int) -> Cache:
        return Cache(batch, capacity)

    def prefill(self, ids: Tensor, lengths: Tensor, features: Any, image_mask: Tensor, cache: Cache) -> Tensor:
        cache.scripts = [self.script[SIGHTS[int(one[0, 0])]] for one in features]
        cache.rows = [[] for _ in features]
        return self._logits(cache)

    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        for row, token in zip(cache.rows, ids.tolist(), strict=True):
            row.append(token)
        return self._logits(cache)

    def _logits(self, cache: Cache) -> Tensor:
        pairs = zip(cache.scripts, cache.rows, strict=True)
        return torch.stack([self._next(script, row) for script, row in pairs])

    def _next(self, script: Script, row: Sequence[int]) -> Tensor:
        """Log-probabilities of the next token after `row`."""
        text, loop, end = self.tokenizer.encode(script.text), self.tokenizer.encode(script.loop), self.tokenizer.eos_id
        done, out = len(row), None
        if done < len(text):
            token = text[done]
        elif loop:
            token = loop[(done - len(text)) % len(loop)]
            out = end if (done - len(text)) % len(loop) == 0 and done > len(text) else None
        else:
            token = end
        rest = (1 - script.confidence) / self.config.decoder.vocab_size
        chances = torch.full((self.config.decoder.vocab_size,), rest)
        chances[token] += script.confidence - (script.way_out if out is not None else 0)
        if out is not None:
            chances[out] += script.way_out
        return chances.log()


class Cache:
    """The scripts and the ids so far of each row."""

    def __init__(self, batch: int, capacity: int):
        self.places, self.capacity = batch, capacity
        self.scripts: list[Script] = []
        self.rows: list[list[int]] = []

    @property
    def extent(self) -> int:
        return max(map(len, self.rows))

    def reserve(self, places: int, capacity: int) -> None:
        self.places, self.capacity = places, capacity

    def join(self, newcomers: Cache) -> None:
        self.scripts, self.rows = self.scripts + newcomers.scripts, self.rows + newcomers.rows

    def keep(self, rows: Sequence[int]) -> None:
        self.scripts, self.rows = [self.scripts[row] for row in rows], [self.rows[row] for row in rows]


def sight_of(view: Tensor) -> Sight:
    """Which side of the view (3, S, S) the darkest pixels are nearest to; padded above, it is half a square page."""
    if view[:, 0].abs().max() < 0.1:
        return "half"
    dark = (view.mean(0) < -0.5).nonzero().float()
    y, x = (dark.mean(0) / view.shape[-1] - 0.5).tolist()
    if abs(y) > abs(x):
        return "up" if y < 0 else "down"
    return "left" if x < 0 else "right"


def page(turned: int = 0, size: int = 200) -> Image.Image:
    """A square page with a block near its top, turned clockwise by so many degrees."""
    image = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(image).rectangle((size * 0.4, size * 0.05, size * 0.6, size * 0.2), fill="black")
    return image.rotate(-turned)


Make = Callable[..., tuple[Reader, StandIn]]


def maker(folder: Path) -> Make:
    """Readers that answer by a script: `make(up=Script(…), …)`."""
    save_tokenizer(folder)
    tokenizer = Tokenizer.from_directory(folder)

    def make(*, views: Sequence[int] = (VIEW,), positions: int = 2000, **script: Script) -> tuple[Reader, StandIn]:
        model = StandIn(tokenizer, script, views, positions)  # type: ignore[arg-type]
        return Reader(model, tokenizer, "stand-in"), model  # type: ignore[arg-type]

    return make
