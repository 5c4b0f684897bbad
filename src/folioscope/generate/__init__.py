"""Token ids in, token ids out: prefill, then one token a step for every page of the batch, until each has ended.

Knows no text, no tokenizer and no files. `Batcher` is the loop; `generate` runs it over a list of prompts, `converse`
over stories that ask for as many continuations as they need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from folioscope.generate.batcher import FIRST_ROOM, Batcher
from folioscope.generate.sequence import Answer, Prompt, Request
from folioscope.generate.stories import Story, converse
from folioscope.model.ocr import DeepseekOcr
from folioscope.types import CheckpointError, Generated, GenerateOptions

__all__ = ["FIRST_ROOM", "Answer", "Batcher", "OnToken", "Prompt", "Request", "Story", "converse", "generate"]

OnToken = Callable[[int, int, float], None]
"""Called with the row, the id just chosen and its natural-log probability."""


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
        model: The network, see `Batcher`.
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
    requests = [Request(prompt, options, _of_row(index, on_token)) for index, prompt in enumerate(prompts)]
    stop = cancelled or (lambda: False)
    answers: dict[Request, Generated] = {}
    if requests and not stop():
        batcher = Batcher(model, slots=len(requests))
        for _, refusal in batcher.admit(requests):
            raise refusal
        while batcher.running:
            answers |= _sound(batcher.step())
            if batcher.running and stop():
                answers |= _sound(batcher.drain())
    return [answers.get(request, Generated((), (), "cancelled")) for request in requests]


def _of_row(row: int, on_token: OnToken | None) -> Callable[[int, float], None] | None:
    return None if on_token is None else lambda token, logprob: on_token(row, token, logprob)


def _sound(answers: Sequence[tuple[Request, Answer]]) -> dict[Request, Generated]:
    """The answers by request; raises what is wrong with the model."""
    found: dict[Request, Generated] = {}
    for request, answer in answers:
        if isinstance(answer, CheckpointError):
            raise answer
        found[request] = answer
    return found
