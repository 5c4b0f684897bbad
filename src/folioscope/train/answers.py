"""Answers to token ids: what the decoder is shown, what it is to write next, and how much each id matters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from folioscope.config import OcrConfig
from folioscope.tokens import PROMPTS, EncodedPrompt, Tokenizer, encode_prompt, slot_count
from folioscope.train.slips import with_slips
from folioscope.views import TILE, Views

IGNORE = -100

_LABELS = re.compile(r"(?<=<\|ref\|>)\w+")
_LABEL_WEIGHT = 3.0
_NUMBERS = re.compile(r"(?<=[\[ ])\d+(?=[,\]])")
_BOXES = re.compile(r"<\|det\|>.*?<\|/det\|>")
_TURNS = re.compile(r"\n+.?")
_TURN_WEIGHT = 2.0
_PLACE_WEIGHTS = (0.5, 1.0, 2.0)  # of units, tens and hundreds of 999ths: the first digits of a number place the box
_NUMBER_END_WEIGHT = 2.0  # a number that ends a digit early is a tenth of what it should be


@dataclass(frozen=True)
class Row:
    """A question and its answer.

    Attributes:
        ids: (T,) int64, what is shown.
        image_mask: (T,) bool.
        targets: (T,) int64, the next id of the answer, or IGNORE.
        slots: (T,) int64, position of the image token that holds the next glyph of the answer, or IGNORE.
        weights: (T,) float32, of each target in the loss.
        numbers: (T,) int64, of a box, in 999ths of the page, where the next id is a digit of it, or IGNORE.
    """

    ids: Tensor
    image_mask: Tensor
    targets: Tensor
    slots: Tensor
    weights: Tensor
    numbers: Tensor

    def since(self, place: int) -> Row:
        """The rows from this place on; `slots` are counted from where they began."""
        return Row(**{field.name: getattr(self, field.name)[..., place:] for field in fields(self)})


def asked(prompt: str, views: Views, config: OcrConfig, tokenizer: Tokenizer) -> EncodedPrompt:
    """A preset prompt with room for the image tokens of a page's views."""
    view, tile = (config.tokens_per_side(side) for side in (views.global_view.shape[-1], TILE))
    return encode_prompt(tokenizer, PROMPTS[prompt], slot_count(view, tile, views.grid))


def answer_row(
    head: EncodedPrompt,
    answer: str,
    tokenizer: Tokenizer,
    slips: float,
    rng: np.random.Generator,
    slots: np.ndarray | None = None,
) -> Row:
    """A prompt and its answer, shown with this share of slips; `slots` are of the characters of the answer."""
    right = tokenizer.encode(answer)
    written, owners = with_slips(right, slips, rng), _owners(answer, right, tokenizer)
    ids = torch.tensor([*head.ids, *written.ids, tokenizer.eos_token_id])
    mask = torch.tensor([*head.image_mask, *[False] * (len(written.ids) + 1)])

    def following(values: np.ndarray, end: float, nothing: float) -> Tensor:
        asked = torch.from_numpy(np.append(values, end)[written.reached])
        return F.pad(asked, (len(head.ids) - 1, 1), value=nothing)

    targets = following(np.array(right, dtype=np.int64), tokenizer.eos_token_id, IGNORE)
    holders = following(np.full(len(right), IGNORE) if slots is None else slots[owners], IGNORE, IGNORE)
    weights = following(_character_weights(answer)[owners], _TURN_WEIGHT, 0.0).float()
    return Row(ids, mask, targets, holders, weights, following(_numbers(answer)[owners], IGNORE, IGNORE))


def pad_rows(rows: Sequence[Row], pad: int) -> Row:
    """Rows as one, (B, T) each, padded on the right."""
    nothing = {
        "ids": pad, "image_mask": False, "targets": IGNORE, "slots": IGNORE, "weights": 0.0, "numbers": IGNORE
    }  # fmt: skip
    columns = {name: [getattr(row, name) for row in rows] for name in nothing}
    return Row(**{name: pad_sequence(columns[name], batch_first=True, padding_value=nothing[name]) for name in nothing})


def _owners(text: str, ids: Sequence[int], tokenizer: Tokenizer) -> np.ndarray:
    """For each id, the character of `text` it belongs to (one token a byte, special tokens whole)."""
    owners, place = [], 0
    for token in ids:
        owners.append(place)
        place += len(tokenizer.token_bytes(token))
    byte_owner = np.repeat(np.arange(len(text)), [len(c.encode()) for c in text])
    return byte_owner[owners] if owners else np.empty(0, dtype=np.int64)


def _character_weights(text: str) -> np.ndarray:
    """How much each character of an answer matters, (len(text),).

    Labels most, then the first digits of a box's numbers, where a number or a line ends, and what the next line begins
    with: a line that is missed is more than a character. The answer's end weighs what a line's end does.
    """
    weights = np.ones(len(text))
    for turn in _TURNS.finditer(text):
        weights[slice(*turn.span())] = _TURN_WEIGHT
    for label in _LABELS.finditer(text):
        weights[slice(*label.span())] = _LABEL_WEIGHT
    for number in _box_numbers(text):
        digits = len(number.group())
        weights[slice(*number.span())] = [_PLACE_WEIGHTS[min(digits - 1 - i, 2)] for i in range(digits)]
        weights[number.end()] = _NUMBER_END_WEIGHT
    return weights


def _numbers(text: str) -> np.ndarray:
    """(len(text),) int64, the number of a box that a character is a digit of, or IGNORE."""
    numbers = np.full(len(text), IGNORE, dtype=np.int64)
    for number in _box_numbers(text):
        numbers[slice(*number.span())] = int(number.group())
    return numbers


def _box_numbers(text: str) -> Iterator[re.Match[str]]:
    for box in _BOXES.finditer(text):
        yield from _NUMBERS.finditer(text, *box.span())


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The mean over (n,) targets, each as heavy as its weight says; logits (n, vocab)."""
    return F.cross_entropy(logits.float(), targets, reduction="none") @ weights / weights.sum()
