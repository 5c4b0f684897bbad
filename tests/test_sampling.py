"""Which token comes next: bans against a rescan and transformers', sampling against transformers' warpers."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
import torch

from folioscope.sampling import NgramBan, ban, sample
from folioscope.types import GenerateOptions

VOCAB = 12


def rescan(ids: Sequence[int], size: int, window: int, exempt: Sequence[int]) -> set[int]:
    """The published rule, by looking at every n-gram; with n = 1 the empty prefix, which the published one misses."""
    prefix = tuple(ids[len(ids) - size + 1 :])
    starts = range(max(0, len(ids) - window) if window else 0, len(ids) - size + 1)
    return {ids[start + size - 1] for start in starts if tuple(ids[start : start + size - 1]) == prefix} - set(exempt)


@pytest.mark.parametrize("window", [0, 2, 5, 12, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_ban_equals_rescan(size: int, window: int) -> None:
    rng = random.Random(size * 1000 + window)
    banned_ever = 0
    for _ in range(20):
        ids = rng.choices(range(3), k=60)
        exempt = rng.sample(range(3), k=rng.randrange(2))
        start = rng.randrange(10)
        ngrams = NgramBan(size, window, exempt, ids[:start])
        for place in range(start, 60):
            assert set(ngrams.banned()) == rescan(ids[:place], size, window, exempt)
            banned_ever += bool(ngrams.banned())
            ngrams.append(ids[place])
    assert (banned_ever > 0) == (window == 0 or window >= size)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_ban_equals_transformers(size: int) -> None:
    from transformers import NoRepeatNGramLogitsProcessor

    rng = random.Random(size)
    logits = torch.randn(8, VOCAB)
    ids = [rng.choices(range(3), k=40) for _ in range(8)]
    for length in (1, size, 10, 40):
        seen = [row[:length] for row in ids]
        wanted = NoRepeatNGramLogitsProcessor(size)(torch.tensor(seen), logits.clone())
        assert torch.equal(ban(logits, [NgramBan(size, ids=row).banned() for row in seen]), wanted)


def test_ban_that_leaves_nothing_is_lifted_for_that_row_alone() -> None:
    logits = torch.randn(2, VOCAB)
    assert torch.equal(ban(logits, [range(VOCAB), [3]])[0], logits[0])
    assert ban(logits, [range(VOCAB), [3]])[1, 3] == -math.inf


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1, 0, 1), (0.5, 0, 0.9), (2, 5, 1), (1, 5, 0.6), (1, 99, 0.01)]
)
def test_sample_draws_from_transformers_distribution(temperature: float, top_k: int, top_p: float) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = logits = 2 * torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(1))
    warpers = [TemperatureLogitsWarper(float(temperature)), TopPLogitsWarper(float(top_p))]
    for warper in [*warpers[:1], *([TopKLogitsWarper(top_k)] if top_k else []), *warpers[1:]]:
        scores = warper(torch.zeros(1, 1, dtype=torch.long), scores)
    draws = 20_000
    evenly = [(draw + 0.5) / draws for draw in range(draws)]
    options = GenerateOptions(temperature=temperature, top_k=top_k, top_p=top_p)
    frequency = sample(logits.expand(draws, VOCAB), evenly, options).bincount(minlength=VOCAB) / draws
    assert torch.allclose(frequency, scores.softmax(-1)[0], atol=2 / draws)


def test_sample_at_the_edges() -> None:
    logits = torch.tensor([[1.0, 5.0, -math.inf, 3.0]])
    for temperature in (1e-3, 1e-30, 1e-60):
        assert sample(logits, [0.999], GenerateOptions(temperature=temperature)).item() == 1
    assert sample(logits, [0.0], GenerateOptions(temperature=1)).item() == 1
    assert sample(logits, [1 - 2**-53], GenerateOptions(temperature=1)).item() == 0
