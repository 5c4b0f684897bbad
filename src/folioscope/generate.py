"""Token ids in, token ids out: prefill, then one token a step for every page of the batch, until each has ended.

Knows no text, no tokenizer and no files.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from folioscope.model.cache import KVCache
from folioscope.model.ocr import DeepseekOcr
from folioscope.sampling import NgramBan, ban, sample
from folioscope.types import CheckpointError, Generated, GenerateOptions, InputError

OnToken = Callable[[int, int, float], None]
"""Called with the row, the id just chosen and its natural-log probability."""

FIRST_ROOM = 512
"""New tokens the cache first has room for; it doubles when a page turns out longer."""


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


@torch.inference_mode()
def generate(
    model: DeepseekOcr,
    prompts: Sequence[Prompt],
    options: GenerateOptions,
    *,
    on_token: OnToken | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Generated]:
    """Continue every prompt, all in one batch; a row gives the ids it would give alone.

    Args:
        model: The network; only its `new_cache`, `prefill`, `step`, `device` and `config.decoder` are used.
        prompts: Any number, of any lengths; the batch is padded to the longest.
        options: How tokens are chosen; every row draws its own numbers from `options.seed`.
        on_token: Told each token as it is chosen, stop tokens included, as (row, id, log-probability).
        cancelled: Asked before every step; True ends the rows still running, with what they have.

    Returns:
        One result a prompt, in order.

    Raises:
        InputError: A prompt leaves no position for a new token.
        CheckpointError: The model computes NaN.
    """
    stop = cancelled or (lambda: False)
    rows = [_Row(index, prompt, options, model) for index, prompt in enumerate(prompts)]
    if not rows or stop():
        return [row.result() for row in rows]
    cache, logits = _prefill(model, prompts, room=min(FIRST_ROOM, max(row.limit for row in rows)))
    live = rows
    while True:
        ids = _choose(logits, live, options, on_token)
        live, ids = _dismiss_finished(live, ids, cache)
        if not live or stop():
            return [row.result() for row in rows]
        if cache.extent == cache.capacity:
            cache.grow(min(2 * cache.capacity, max(row.positions for row in live)))
        logits = model.step(ids, cache)


class _Row:
    """One sequence of the batch as it grows."""

    def __init__(self, index: int, prompt: Prompt, options: GenerateOptions, model: DeepseekOcr):
        self.index, self.stop_ids = index, frozenset(options.stop_ids)
        self.limit = _token_limit(len(prompt.ids), options.max_new_tokens, model.config.decoder.max_position_embeddings)
        self.positions = len(prompt.ids) + self.limit
        self.ngrams = NgramBan(
            options.no_repeat_ngram_size,
            options.ngram_window,
            options.ngram_exempt,
            # the published server, whose rule the window is, sees generated ids only
            () if options.ngram_window else prompt.ids,
        )
        self.random = random.Random(options.seed)
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.finish: Literal["stop", "length"] | None = None

    def append(self, token: int, logprob: float) -> None:
        if math.isnan(logprob):
            raise CheckpointError(
                f"the model computed NaN or infinity at token {len(self.ids)} of row {self.index}: "
                "check its weights, or load it with dtype float32"
            )
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.ngrams.append(token)
        if token in self.stop_ids:
            self.finish = "stop"
        elif len(self.ids) == self.limit:
            self.finish = "length"

    def result(self) -> Generated:
        return Generated(tuple(self.ids), tuple(self.logprobs), self.finish or "cancelled")


def _token_limit(prompt: int, asked: int | None, positions: int) -> int:
    room = positions - prompt
    if room <= 0:
        raise InputError(
            f"prompt of {prompt} tokens: the model has {positions} positions for prompt and output together; "
            "use a smaller mode or a shorter prompt"
        )
    return room if asked is None else min(asked, room)


def _prefill(model: DeepseekOcr, prompts: Sequence[Prompt], room: int) -> tuple[KVCache, Tensor]:
    """Read the prompts into a cache with room for `room` tokens more; return it and logits (B, vocab)."""
    ids = pad_sequence([torch.tensor(prompt.ids) for prompt in prompts], batch_first=True)  # (B, T)
    mask = pad_sequence([torch.tensor(prompt.image_mask) for prompt in prompts], batch_first=True)  # (B, T)
    lengths = torch.tensor([len(prompt.ids) for prompt in prompts])
    capacity = min(ids.shape[1] + room, model.config.decoder.max_position_embeddings)
    cache = model.new_cache(len(prompts), capacity)
    features = [prompt.features for prompt in prompts]
    device = model.device
    return cache, model.prefill(ids.to(device), lengths.to(device), features, mask.to(device), cache)


def _choose(logits: Tensor, live: Sequence[_Row], options: GenerateOptions, on_token: OnToken | None) -> Tensor:
    """Choose and record each live row's next token from logits (B, vocab); return the ids (B,), on their device."""
    allowed = ban(logits, [row.ngrams.banned() for row in live])
    if options.temperature == 0:
        ids = allowed.argmax(dim=-1)
    else:
        ids = sample(allowed, [row.random.random() for row in live], options)
    logprobs = logits.log_softmax(dim=-1).gather(1, ids[:, None])[:, 0]
    # ids ride with the log-probabilities, exact below 2 ** 24, so that a step waits for the device only once
    for row, (token, logprob) in zip(live, torch.stack((ids.float(), logprobs), dim=1).tolist(), strict=True):
        row.append(int(token), logprob)
        if on_token is not None:
            on_token(row.index, int(token), logprob)
    return ids


def _dismiss_finished(live: list[_Row], ids: Tensor, cache: KVCache) -> tuple[list[_Row], Tensor]:
    """The rows that go on and their last ids; the others leave the cache and cost nothing more."""
    going_on = [place for place, row in enumerate(live) if row.finish is None]
    if going_on and len(going_on) < len(live):
        kept = torch.tensor(going_on, device=ids.device)
        cache.keep(kept)
        ids = ids[kept]
    return [live[place] for place in going_on], ids
