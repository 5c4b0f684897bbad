"""Continuous batching: rows come and go between tokens, and each gives what it would give alone."""

from __future__ import annotations

import math
import random

import pytest
import torch

from folioscope.generate import Answer, Batcher, Prompt, Request, generate
from folioscope.model.ocr import DeepseekOcr
from folioscope.types import CheckpointError, Generated, GenerateOptions, InputError
from scripted_model import PLAIN, VOCAB, ScriptedModel, counting, text

UP_TO_7 = GenerateOptions(no_repeat_ngram_size=0, stop_ids=(7,))


def run(batcher: Batcher, requests: list[Request]) -> dict[Request, Answer]:
    """Admit each as soon as there is a place."""
    waiting, answers = list(requests), {}
    while waiting or batcher.running:
        now, waiting = waiting[: batcher.free], waiting[batcher.free :]
        assert batcher.admit(now) == []
        answers |= dict(batcher.step())
    return answers


def test_a_finished_place_goes_to_the_next() -> None:
    model = ScriptedModel(counting)
    requests = [Request(text(start), UP_TO_7) for start in (6, 3, 5, 6, 4)]
    answers = run(Batcher(model, slots=2), requests)
    ids = [answer.ids for answer in map(answers.get, requests) if isinstance(answer, Generated)]
    assert ids == [(7,), (4, 5, 6, 7), (6, 7), (7,), (5, 6, 7)]
    # 11 tokens, two at a time but for the last: prefills of 2, 1, 1 and 1 rows, and steps of those that went on
    assert model.batches == [2, 1, 1, 2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_rows_of_any_options_give_what_they_give_alone(slots: int) -> None:
    kinds = (
        GenerateOptions(no_repeat_ngram_size=2, stop_ids=(3,), max_new_tokens=30),
        GenerateOptions(no_repeat_ngram_size=0, temperature=1.5, seed=3, stop_ids=(4, 5)),
        GenerateOptions(temperature=1.5, seed=4, top_k=4, stop_ids=(4,), max_new_tokens=25),
        GenerateOptions(temperature=0.7, seed=4, top_p=0.8, stop_ids=(4,), max_new_tokens=25),
    )
    requests = [Request(text(*range(1 + number % 5)), kinds[number % 4]) for number in range(12)]
    answers = run(Batcher(ScriptedModel(), slots), requests)
    for request in requests:
        assert [answers[request]] == generate(ScriptedModel(), [request.prompt], request.options)


def test_callbacks_are_the_rows_own() -> None:
    told: dict[str, list[int]] = {"a": [], "b": []}
    stop_b = iter([False, False, True])
    batcher = Batcher(ScriptedModel(counting), slots=2)
    a = Request(text(0), UP_TO_7, on_token=lambda token, _: told["a"].append(token))
    b = Request(text(1), UP_TO_7, lambda token, _: told["b"].append(token), cancelled=lambda: next(stop_b))
    answers = run(batcher, [a, b])
    assert told == {"a": [1, 2, 3, 4, 5, 6, 7], "b": [2, 3]}
    assert (answers[a].finish, answers[b].finish) == ("stop", "cancelled")  # type: ignore[union-attr]
    assert answers[b].ids == (2, 3)  # type: ignore[union-attr]


def test_a_cancelled_row_frees_its_place_without_another_token() -> None:
    gone = False
    model = ScriptedModel(counting)
    batcher = Batcher(model, slots=1)
    batcher.admit([Request(text(0), PLAIN, cancelled=lambda: gone)])
    batcher.step()
    calls, gone = len(model.batches), True
    ((_, answer),) = batcher.step()
    assert (answer.ids, batcher.free, len(model.batches)) == ((1,), 1, calls)  # type: ignore[union-attr]


def test_a_prompt_that_does_not_fit_is_refused_alone() -> None:
    batcher = Batcher(ScriptedModel(counting, positions=64), slots=3)
    good, long = Request(text(6), UP_TO_7), Request(text(*[1] * 64), UP_TO_7)
    ((refused, error),) = batcher.admit([long, good])
    assert refused is long
    assert isinstance(error, InputError)
    assert batcher.running == 1
    assert [request for request, _ in batcher.step()] == [good]


def test_nan_costs_only_its_row() -> None:
    model = ScriptedModel(lambda row: torch.full((VOCAB,), math.nan) if 9 in row else counting(row))
    sick, well = Request(text(8), UP_TO_7), Request(text(2), UP_TO_7)
    answers = run(Batcher(model, slots=2), [sick, well])
    assert isinstance(answers[sick], CheckpointError)
    assert answers[well].ids == (3, 4, 5, 6, 7)  # type: ignore[union-attr]


def test_an_admission_that_fails_leaves_the_others_as_they_were() -> None:
    def short_of_memory(row: list[int]) -> torch.Tensor:
        if row == [11]:
            raise MemoryError
        return counting(row)

    batcher = Batcher(ScriptedModel(short_of_memory), slots=2)
    batcher.admit([well := Request(text(5), UP_TO_7)])
    batcher.step()
    with pytest.raises(MemoryError):
        batcher.admit([Request(text(11), UP_TO_7)])
    assert [(request, answer.ids) for request, answer in batcher.step()] == [(well, (6, 7))]  # type: ignore[union-attr]


def test_places_double_and_are_given_back() -> None:
    model = ScriptedModel(counting)
    batcher = Batcher(model, slots=5)
    for _ in range(5):
        batcher.admit([Request(text(0), UP_TO_7)])
        batcher.step()
    assert [places for places, _ in model.caches[0].rooms] == [1, 2, 4, 5]
    assert len(batcher.drain()) == 5
    batcher.admit([Request(text(0), UP_TO_7)])
    assert model.caches[-1].rooms == [(1, 64)]


def random_prompt(model: DeepseekOcr, chance: random.Random) -> Prompt:
    """Some words, a run of image slots, some words."""
    words, slots = [chance.randrange(2, 200) for _ in range(chance.randrange(2, 9))], chance.randrange(0, 12)
    features = torch.randn(slots, model.config.decoder.hidden_size) if slots else None
    ids, mask = (*words, *[0] * slots, 5), (*[False] * len(words), *[True] * slots, False)
    return Prompt(ids, mask, features)


@pytest.mark.parametrize("reader", ["tiny_reader", "embedded_reader"])
def test_the_network_gives_what_it_gives_alone(reader: str, request: pytest.FixtureRequest) -> None:
    model: DeepseekOcr = request.getfixturevalue(reader)[0]
    chance = random.Random(1)
    torch.manual_seed(1)
    kinds = (
        GenerateOptions(stop_ids=(), max_new_tokens=9),
        GenerateOptions(no_repeat_ngram_size=3, stop_ids=(), max_new_tokens=21),
        GenerateOptions(temperature=1.0, seed=7, stop_ids=(), max_new_tokens=14),
    )
    requests = [Request(random_prompt(model, chance), kinds[number % 3]) for number in range(10)]
    answers = run(Batcher(model, slots=4), requests)
    for asked in requests:
        (alone,) = generate(model, [asked.prompt], asked.options)
        shared = answers[asked]
        assert isinstance(shared, Generated)
        assert shared.ids == alone.ids
        assert shared.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
