"""Which token comes next: the no-repeat n-gram ban, and sampling with temperature, top-k and top-p.

The ban is that of transformers' `NoRepeatNGramLogitsProcessor`, which the published `infer` uses, and, windowed, that
of DeepSeek-OCR's vLLM version (`process/ngram_norepeat.py`), made to spare the tags of long tables.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from folioscope.types import GenerateOptions


class NgramBan:
    """Which tokens would complete an n-gram seen before: a look-up a token, where a rescan costs the whole sequence.

    Args:
        size: n; 0 never bans, 1 bans every token seen.
        window: Only n-grams that start in the last this-many ids count; 0 is all. Below `size` it never bans.
        exempt: Ids that are never banned.
        ids: The sequence so far.
    """

    def __init__(self, size: int, window: int = 0, exempt: Collection[int] = (), ids: Sequence[int] = ()):
        self.size, self.window, self.exempt = size, window, frozenset(exempt)
        self._ids: list[int] = []
        self._followers: dict[tuple[int, ...], dict[int, int]] = {}  # n-1 ids → the id after them → last start
        for token in ids:
            self.append(token)

    def append(self, token: int) -> None:
        """The sequence goes on with `token`."""
        self._ids.append(token)
        start = len(self._ids) - self.size
        if self.size and start >= 0 and token not in self.exempt:
            self._followers.setdefault(tuple(self._ids[start:-1]), {})[token] = start

    def banned(self) -> Collection[int]:
        """The ids that may not come next."""
        prefix = tuple(self._ids[max(0, len(self._ids) - self.size + 1) :])
        found = self._followers.get(prefix, {})
        if self.window and found:
            horizon = len(self._ids) - self.window
            found = self._followers[prefix] = {token: start for token, start in found.items() if start >= horizon}
        return found.keys()


def ban(logits: Tensor, banned: Sequence[Collection[int]]) -> Tensor:
    """Logits (B, vocab) with -inf at each row's banned ids; a row left with nothing keeps what it had."""
    places = [(row, token) for row, tokens in enumerate(banned) for token in tokens]
    if not places:
        return logits
    rows, tokens = _on_device(tuple(zip(*places, strict=True)), torch.int64, logits.device)
    left = logits.index_put((rows, tokens), logits.new_full((), -torch.inf))
    return torch.where(left.amax(dim=-1, keepdim=True) == -torch.inf, logits, left)


def sample(logits: Tensor, uniform: Sequence[float], options: GenerateOptions) -> Tensor:
    """Draw ids (B,) from softmax(logits (B, vocab) / temperature), cut to `top_k`, then to `top_p`.

    Args:
        uniform: B numbers in 0..1: where in each row's cumulative distribution, most probable ids first, its id
            is found.
    """
    height = _on_device(uniform, torch.float32, logits.device)[:, None]  # (B, 1)
    scores, ids = logits.sort(dim=-1, descending=True, stable=True)
    scores = scores[:, : options.top_k or None]
    # at a temperature so near 0 that scores overflow these are NaN, below no level: the first place, greedy, it is
    cumulative = (scores / options.temperature).softmax(dim=-1).cumsum(dim=-1)  # (B, k)
    nucleus_end = _first_reaching(cumulative, options.top_p * cumulative[:, -1:])
    chosen = _first_reaching(cumulative, height * cumulative.gather(1, nucleus_end))
    return ids.gather(1, chosen)[:, 0]


def _first_reaching(cumulative: Tensor, level: Tensor) -> Tensor:
    """(B, 1): the first place of each row of (B, k) whose sum is at least `level` (B, 1)."""
    return (cumulative < level).sum(dim=-1, keepdim=True)


def _on_device(values: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    # CUDA stages pageable memory before it returns, so not waiting is safe there; elsewhere that is not promised
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=device.type == "cuda")
