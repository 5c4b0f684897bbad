"""One sequence: what is asked, and what has been written so far."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from folioscope.model.ocr import DeepseekOcr
from folioscope.repetition import LoopWatch
from folioscope.sampling import NgramBan
from folioscope.types import CheckpointError, Generated, GenerateOptions, InputError


@dataclass(frozen=True)
class Prompt:
    """One sequence to continue.

    Attributes:
        ids: Token ids, image slots included; not empty.
        image_mask: As long as `ids`, True on the image slots.
        features: (slots, hidden) image tokens in slot order, on the model's device, or None for text alone.
    """

    ids: tuple[int, ...]
    image_mask: tuple[bool, ...]
    features: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.ids or len(self.ids) != len(self.image_mask):
            counts = f"{len(self.ids)} ids and an image mask of {len(self.image_mask)}"
            raise InputError(f"prompt of {counts}: needs at least one id, and as many of each")
        slots, tokens = sum(self.image_mask), 0 if self.features is None else len(self.features)
        if slots != tokens:
            raise InputError(f"prompt with {slots} image slots and {tokens} image tokens: needs as many of each")


@dataclass(frozen=True, eq=False)
class Request:
    """A prompt to continue, and who is told. Two requests are never equal, so that they can be keys.

    Attributes:
        prompt: What to continue.
        options: How its tokens are chosen; its numbers are drawn from `options.seed`, whoever shares the batch.
        on_token: Told each token as it is chosen, the stop token included: its id and natural-log probability.
        cancelled: Asked before every token; True ends the sequence with what it has.
    """

    prompt: Prompt
    options: GenerateOptions
    on_token: Callable[[int, float], None] | None = None
    cancelled: Callable[[], bool] | None = None


Answer = Generated | CheckpointError
"""What became of a request: its new ids, or what is wrong with the model."""


class Row:
    """One sequence of a batch as it grows. Raises InputError if its prompt leaves no position for a new token."""

    def __init__(self, request: Request, model: DeepseekOcr):
        self.request, options = request, request.options
        prompt = request.prompt.ids
        self.limit = _token_limit(len(prompt), options.max_new_tokens, model.config.decoder.max_position_embeddings)
        self.positions = len(prompt) + self.limit
        self.ngrams = NgramBan(
            options.no_repeat_ngram_size,
            options.ngram_window,
            options.ngram_exempt,
            # the published server, whose rule the window is, sees generated ids only
            () if options.ngram_window else prompt,
        )
        self.loops = LoopWatch(options.ngram_exempt) if options.stop_loops else None
        self.random = random.Random(options.seed)
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.finish: Literal["stop", "length", "loop", "cancelled"] | None = None
        self.broken: CheckpointError | None = None

    @property
    def ended(self) -> bool:
        return self.finish is not None or self.broken is not None

    def append(self, token: int, logprob: float) -> None:
        if math.isnan(logprob):
            self.broken = CheckpointError(
                f"the model computed NaN or infinity at token {len(self.ids)}: "
                "check its weights, or load it with dtype float32"
            )
            return
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.ngrams.append(token)
        if token in self.request.options.stop_ids:
            self.finish = "stop"
        elif self.loops is not None and self.loops.append(token):
            self.finish = "loop"
        elif len(self.ids) == self.limit:
            self.finish = "length"
        if self.request.on_token is not None:
            self.request.on_token(token, logprob)

    def answer(self) -> Answer:
        return self.broken or Generated(tuple(self.ids), tuple(self.logprobs), self.finish or "cancelled")


def _token_limit(prompt: int, asked: int | None, positions: int) -> int:
    room = positions - prompt
    if room <= 0:
        raise InputError(
            f"prompt of {prompt} tokens: the model has {positions} positions for prompt and output together; "
            "use a smaller mode or a shorter prompt"
        )
    return room if asked is None else min(asked, room)
