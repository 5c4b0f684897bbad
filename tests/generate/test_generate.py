"""The decode loop: control flow on a scripted model, ids as transformers' generate and the published code give them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from folioscope.generate import FIRST_ROOM, Prompt, generate
from folioscope.model.ocr import DeepseekOcr
from folioscope.types import CheckpointError, FolioscopeError, GenerateOptions, InputError
from folioscope.weights import load_ocr
from scripted_model import PLAIN, VOCAB, ScriptedModel, counting, text


def test_stop_and_length_and_logprobs() -> None:
    options = GenerateOptions(no_repeat_ngram_size=0, stop_ids=(7, 8), max_new_tokens=4)
    stopped, cut = generate(ScriptedModel(counting), [text(4), text(9, 8)], options)
    assert (stopped.ids, stopped.finish) == ((5, 6, 7), "stop")
    assert (cut.ids, cut.finish) == ((9, 10, 11, 0), "length")
    assert stopped.logprobs == pytest.approx([1 - math.log(math.e + VOCAB - 1)] * 3)


def test_logprobs_are_the_models_own_whatever_chose_the_token() -> None:
    model = ScriptedModel()
    options = GenerateOptions(
        no_repeat_ngram_size=1, ngram_window=4, temperature=3.0, top_k=6, seed=5, max_new_tokens=30
    )
    (done,) = generate(model, [text(2, 3)], options)
    raw = [model.logits_of([2, 3, *done.ids[:place]]).log_softmax(-1)[token] for place, token in enumerate(done.ids)]
    assert done.logprobs == pytest.approx([float(logprob) for logprob in raw], abs=1e-6)


def test_every_token_is_told_as_it_is_chosen() -> None:
    told: list[tuple[int, int, float]] = []
    done = generate(
        ScriptedModel(), [text(1), text(5, 2)], GenerateOptions(max_new_tokens=9), on_token=lambda *t: told.append(t)
    )
    for row, generated in enumerate(done):
        assert [(i, p) for r, i, p in told if r == row] == list(zip(generated.ids, generated.logprobs, strict=True))
    assert [row for row, _, _ in told[:4]] == [0, 1, 0, 1]


def test_finished_rows_leave_the_batch() -> None:
    model = ScriptedModel(counting)
    generate(model, [text(3), text(6), text(5)], GenerateOptions(stop_ids=(7,)))
    assert model.batches == [3, 2, 1, 1]


@pytest.mark.parametrize(
    "options", [PLAIN, GenerateOptions(no_repeat_ngram_size=2), GenerateOptions(temperature=1.5, seed=3)]
)
def test_scripted_batch_equals_singles(options: GenerateOptions) -> None:
    prompts = [text(*range(length)) for length in (1, 5, 3, 9)]
    singles = [generate(ScriptedModel(), [prompt], options)[0] for prompt in prompts]
    assert generate(ScriptedModel(), prompts, options) == singles
    assert len({single.ids for single in singles}) == 4


def test_seed_repeats_and_no_seed_does_not() -> None:
    def ids(seed: int | None) -> tuple[int, ...]:
        options = GenerateOptions(temperature=5, seed=seed, stop_ids=(), max_new_tokens=60)
        return generate(ScriptedModel(), [text(1)], options)[0].ids

    assert ids(1) == ids(1) != ids(2)
    assert ids(None) != ids(None)


def test_window_looks_at_new_ids_only_and_spares_exempt_ones() -> None:
    def ids(**options: Any) -> tuple[int, ...]:
        constant = torch.arange(VOCAB, 0, -1).float()  # prefers 0, then 1, ...
        settings = GenerateOptions(**options, stop_ids=(), max_new_tokens=6)
        return generate(ScriptedModel(lambda row: constant), [text(1, 2, 0)], settings)[0].ids

    assert ids(no_repeat_ngram_size=1) == (3, 4, 5, 6, 7, 8)
    assert ids(no_repeat_ngram_size=1, ngram_window=2) == (0, 1, 2, 0, 1, 2)
    assert ids(no_repeat_ngram_size=1, ngram_exempt=(2, 5)) == (2, 2, 2, 2, 2, 2)
    assert ids(no_repeat_ngram_size=3, ngram_window=2) == (0, 0, 0, 0, 0, 0)


def test_everything_banned_goes_on_with_the_best() -> None:
    options = GenerateOptions(no_repeat_ngram_size=1, stop_ids=(), max_new_tokens=2)
    assert generate(ScriptedModel(counting), [text(*range(VOCAB))], options)[0].ids == (0, 1)


def test_the_last_position_is_the_limit() -> None:
    done = generate(ScriptedModel(counting, positions=64), [text(1), text(*range(10))], PLAIN)
    assert [len(generated.ids) for generated in done] == [63, 54]
    assert {generated.finish for generated in done} == {"length"}
    with pytest.raises(InputError, match="prompt of 64 tokens: the model has 64 positions"):
        generate(ScriptedModel(), [text(1), text(*[1] * 64)], PLAIN)


def test_cache_starts_small_and_doubles_when_needed() -> None:
    long, short = ScriptedModel(counting, positions=8192), ScriptedModel(counting, positions=8192)
    generate(long, [text(1), text(1, 2, 3)], GenerateOptions(no_repeat_ngram_size=0, stop_ids=(), max_new_tokens=1100))
    assert long.caches[0].rooms == [(2, 3 + FIRST_ROOM), (2, 2 * (3 + FIRST_ROOM)), (2, 1103)]
    generate(short, [text(1), text(1, 2, 3)], GenerateOptions(stop_ids=(9,), max_new_tokens=20))
    assert short.caches[0].rooms == [(2, 23)]


def test_cancelling_keeps_what_there_is() -> None:
    model = ScriptedModel(counting)
    answers = iter([False, False, False, True])
    done = generate(model, [text(3), text(5)], GenerateOptions(stop_ids=(7,)), cancelled=lambda: next(answers))
    assert [(generated.ids, generated.finish) for generated in done] == [((4, 5, 6), "cancelled"), ((6, 7), "stop")]
    (nothing,) = generate(ScriptedModel(), [text(1)], PLAIN, cancelled=lambda: True)
    assert (nothing.ids, nothing.logprobs, nothing.finish) == ((), (), "cancelled")


def test_nan_is_an_error_not_a_token() -> None:
    for temperature in (0, 1):
        broken = ScriptedModel(lambda row: torch.full((VOCAB,), math.nan) if row == [2] else counting(row))
        with pytest.raises(CheckpointError, match="NaN or infinity at token 0:"):
            generate(broken, [text(1), text(2)], GenerateOptions(temperature=temperature))


def test_prompts_that_cannot_be() -> None:
    for ids, mask, features in (((), (), None), ((1, 2), (False,), None), ((1, 2), (True, True), torch.zeros(1, 4))):
        with pytest.raises(FolioscopeError, match="as many"):
            Prompt(ids, mask, features)
    assert generate(ScriptedModel(), [], PLAIN) == []


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5])
def test_greedy_equals_transformers_generate(size: int) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(size)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, pad_token_id=0, eos_token_id=1, **shape)).eval()
    model = ScriptedModel(lambda row: llama(torch.tensor([row])).logits[0, -1])
    # no 1-gram twice: three new ones are left after nine, and where none is left transformers takes id 0, we the best
    settings: dict[str, Any] = {"no_repeat_ngram_size": size, "max_new_tokens": 3 if size == 1 else 20}
    for _ in range(4):
        prompt = torch.randint(VOCAB, (1, 9))
        wanted = llama.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, **settings)
        (done,) = generate(model, [text(*prompt[0].tolist())], GenerateOptions(stop_ids=(1,), **settings))
        assert list(done.ids) == wanted[0, 9:].tolist()


@pytest.fixture(scope="module")
def toy(shared: Callable[..., Path]) -> DeepseekOcr:
    return load_ocr(shared("golden", "deepseek_toy"))[0]


@pytest.fixture(scope="module")
def golden(shared: Callable[..., Path]) -> dict[str, Any]:
    return {case: np.load(shared("golden", "deepseek_toy", f"{case}.npz")) for case in CASES}


CASES = {"lm_only": 2, "tiny_small": 3, "gundam_2x1_wide": 3}
"""Cases and the size of their other n-gram ban."""


def prompt_of(case: Any) -> Prompt:
    ids = tuple(case["input_ids"].tolist())
    if "image_tokens" not in case:
        return text(*ids)
    return Prompt(ids, tuple(case["images_seq_mask"].tolist()), torch.from_numpy(case["image_tokens"]))


@pytest.mark.parametrize("case", CASES)
def test_golden_greedy(toy: DeepseekOcr, golden: dict[str, Any], case: str) -> None:
    for size, name in ((35, "greedy24"), (CASES[case], f"greedy24_ngram{CASES[case]}")):
        options = GenerateOptions(no_repeat_ngram_size=size, stop_ids=(), max_new_tokens=24)
        (done,) = generate(toy, [prompt_of(golden[case])], options)
        assert list(done.ids) == golden[case][name].tolist()


@pytest.mark.parametrize("temperature", [0, 1])
def test_golden_batch_equals_singles(toy: DeepseekOcr, golden: dict[str, Any], temperature: float) -> None:
    prompts = [prompt_of(case) for case in golden.values()] + [text(5), text(*range(100, 110))]
    first = generate(toy, prompts, GenerateOptions(temperature=temperature, seed=1, stop_ids=(), max_new_tokens=12))
    # ids that some rows have chosen, so that rows leave at different steps
    stops = (first[0].ids[3], first[3].ids[6])
    options = GenerateOptions(temperature=temperature, seed=1, stop_ids=stops, max_new_tokens=40)
    batch = generate(toy, prompts, options)
    assert len({len(done.ids) for done in batch}) > 2
    for done, prompt in zip(batch, prompts, strict=True):
        (single,) = generate(toy, [prompt], options)
        assert (done.ids, done.finish) == (single.ids, single.finish)
        assert done.logprobs == pytest.approx(single.logprobs, abs=1e-4)


@torch.inference_mode()
def test_golden_cached_equals_uncached(toy: DeepseekOcr, golden: dict[str, Any]) -> None:
    prompts = [prompt_of(golden["tiny_small"]), prompt_of(golden["lm_only"])]
    for done, prompt in zip(generate(toy, prompts, GenerateOptions(max_new_tokens=30)), prompts, strict=True):
        ids = torch.tensor([*prompt.ids, *done.ids])[None]
        mask = torch.tensor([*prompt.image_mask, *[False] * len(done.ids)])[None]
        raw = toy(ids, mask, [prompt.features]).log_softmax(-1)[0, len(prompt.ids) - 1 : -1]
        assert done.logprobs == pytest.approx(raw.gather(1, torch.tensor(done.ids)[:, None])[:, 0].tolist(), abs=1e-4)


def test_loops_end_their_row_only() -> None:
    options = GenerateOptions(no_repeat_ngram_size=0, stop_ids=(), stop_loops=True)
    digits = [place**3 // 7 % 5 + place**2 // 3 for place in range(400)]
    model = ScriptedModel(lambda row: counting(row if row[0] == 0 else [digits[len(row) - 1]]), positions=400)
    looping, going_on = generate(model, [text(0), text(1)], options)
    assert (looping.finish, going_on.finish) == ("loop", "length")
    assert VOCAB < len(looping.ids) <= VOCAB + 200
    (published,) = generate(model, [text(0)], GenerateOptions(no_repeat_ngram_size=0, stop_ids=()))
    assert published.finish == "length"
