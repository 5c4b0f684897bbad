"""Continuous batching: many sequences share every step of the model, and a finished one's place goes to the next.

The idea is Orca's iteration-level scheduling (Yu et al., OSDI 2022): sequences enter and leave between any two tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from folioscope.generate.sequence import Answer, Prompt, Request, Row
from folioscope.model.cache import KVCache
from folioscope.model.ocr import DeepseekOcr
from folioscope.sampling import ban, sample
from folioscope.types import GenerateOptions, InputError

FIRST_ROOM = 512
"""New tokens the cache first has room for; it doubles when a page turns out longer."""


class Batcher:
    """Up to `slots` sequences, decoded together; each gives the ids it would give alone.

    `admit` reads prompts and lets them join, `step` adds a token to every sequence and returns those that have ended;
    between any two steps others may be admitted. One thread owns it: it calls both, and the requests' callbacks run in
    it. Others reach it through a queue of the owner's.

    Attributes:
        model: The network; only its `new_cache`, `prefill`, `step`, `device` and `config.decoder` are used.
        slots: The most sequences at a time. Their cache grows with what runs and is given back when nothing does.
    """

    def __init__(self, model: DeepseekOcr, slots: int):
        if slots < 1:
            raise InputError(f"slots={slots}: must be 1 or more")
        self.model, self.slots = model, slots
        self._rows: list[Row] = []
        self._cache: KVCache | None = None  # of the rows, in their order
        # of every row, one of the two: its last id, which the model has not seen, or what the model says comes next
        self._ids: Tensor | None = None  # (rows,)
        self._logits: Tensor | None = None  # (rows, vocab)

    @property
    def running(self) -> int:
        """Sequences that have not ended."""
        return len(self._rows)

    @property
    def free(self) -> int:
        """Sequences that may be admitted now."""
        return self.slots - len(self._rows)

    @torch.inference_mode()
    def admit(self, requests: Sequence[Request]) -> list[tuple[Request, InputError]]:
        """Read the prompts in one call of the model, and let them join; at most `free`.

        If the model fails, for want of memory, say, those that run are as they were.

        Returns:
            The requests that were not admitted, because their prompts leave no position for a new token.
        """
        assert len(requests) <= self.free, "more requests than free places"
        rows: list[Row] = []
        refused: list[tuple[Request, InputError]] = []
        for request in requests:
            try:
                rows.append(Row(request, self.model))
            except InputError as error:
                refused.append((request, error))
        if rows:
            self._join(rows, *_prefill(self.model, rows))
        return refused

    @torch.inference_mode()
    def step(self) -> list[tuple[Request, Answer]]:
        """Add one token to every sequence; return those that have ended. Cancelled ones end before it, without."""
        for row in self._rows:
            if row.request.cancelled is not None and row.request.cancelled():
                row.finish = "cancelled"
        ended = self._dismiss()
        if self._rows:
            self._choose(self._next_logits())
            ended += self._dismiss()
        return ended

    def drain(self) -> list[tuple[Request, Answer]]:
        """End everything at once, with what there is."""
        for row in self._rows:
            row.finish = "cancelled"
        return self._dismiss()

    def _join(self, rows: Sequence[Row], fresh: KVCache, logits: Tensor) -> None:
        if self._cache is None:
            self._cache, self._logits = fresh, logits
        else:
            self._logits = torch.cat([self._next_logits(), logits])
            after, places = len(self._rows) + len(rows), self._cache.places
            self._cache.reserve(places if after <= places else min(self.slots, max(after, 2 * places)), fresh.capacity)
            self._cache.join(fresh)
        self._rows += rows

    def _next_logits(self) -> Tensor:
        """What the model says comes next in every row (rows, vocab), asked once a token."""
        if self._logits is None:
            assert self._cache is not None
            assert self._ids is not None
            if self._cache.extent == self._cache.capacity:
                longest = max(row.positions for row in self._rows)
                self._cache.reserve(self._cache.places, min(2 * self._cache.capacity, longest))
            self._logits, self._ids = self.model.step(self._ids, self._cache), None
        return self._logits

    def _choose(self, logits: Tensor) -> None:
        """Choose and record each row's next token."""
        allowed = ban(logits, [row.ngrams.banned() for row in self._rows])
        ids = allowed.argmax(dim=-1)  # (rows,)
        for options, places in self._sampled().items():
            heights = [self._rows[place].random.random() for place in places]
            ids[places] = sample(allowed[places], heights, options)
        logprobs = logits.log_softmax(dim=-1).gather(1, ids[:, None])[:, 0]
        # ids ride with the log-probabilities, exact below 2 ** 24, so that a step waits for the device only once
        chosen = torch.stack((ids.float(), logprobs), dim=1).tolist()
        self._ids, self._logits = ids, None
        for row, (token, logprob) in zip(self._rows, chosen, strict=True):
            row.append(int(token), logprob)

    def _sampled(self) -> dict[GenerateOptions, list[int]]:
        """The rows that are not greedy, by what they are drawn with."""
        groups: dict[GenerateOptions, list[int]] = {}
        for place, row in enumerate(self._rows):
            options = row.request.options
            if options.temperature:
                alike = GenerateOptions(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p)
                groups.setdefault(alike, []).append(place)
        return groups

    def _dismiss(self) -> list[tuple[Request, Answer]]:
        """Let go of the rows that have ended; the last ones move into their places."""
        ended = [row for row in self._rows if row.ended]
        if not ended:
            return []
        going_on = [place for place, row in enumerate(self._rows) if not row.ended]
        count = len(going_on)
        movable = [place for place in going_on if place >= count]
        kept = [place if not self._rows[place].ended else movable.pop() for place in range(count)]
        self._rows = [self._rows[place] for place in kept]
        if not kept:
            self._cache = self._ids = self._logits = None
        elif self._cache is not None:
            self._cache.keep(kept)
            self._ids = None if self._ids is None else self._ids[kept]
            self._logits = None if self._logits is None else self._logits[kept]
        return [(row.request, row.answer()) for row in ended]


def _prefill(model: DeepseekOcr, rows: Sequence[Row]) -> tuple[KVCache, Tensor]:
    """Read the rows' prompts into a cache of their own, with room for new tokens; return it and logits (B, vocab)."""
    prompts: list[Prompt] = [row.request.prompt for row in rows]
    ids = pad_sequence([torch.tensor(prompt.ids) for prompt in prompts], batch_first=True)  # (B, T)
    mask = pad_sequence([torch.tensor(prompt.image_mask) for prompt in prompts], batch_first=True)  # (B, T)
    lengths = torch.tensor([len(prompt.ids) for prompt in prompts])
    room = min(FIRST_ROOM, max(row.limit for row in rows))
    capacity = min(ids.shape[1] + room, model.config.decoder.max_position_embeddings)
    cache = model.new_cache(len(rows), capacity)
    features = [prompt.features for prompt in prompts]
    device = model.device
    return cache, model.prefill(ids.to(device), lengths.to(device), features, mask.to(device), cache)
