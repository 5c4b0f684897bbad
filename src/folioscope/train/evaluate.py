"""How well a reader reads: free decoding of freshly drawn pages whose text training never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from folioscope.generate import Prompt, generate
from folioscope.grounding import parse
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import PROMPTS, Tokenizer, encode_prompt
from folioscope.train.layout import PageStyle
from folioscope.train.render import TrainingPage, render_page
from folioscope.types import GenerateOptions
from folioscope.views import default_mode, ocr_views

EVALUATION_SEED = 7_000_000
"""First seed of evaluation pages; their sentences and words are held out, so no seed of training draws them."""

ROOM = 64
"""A page may answer this many tokens more than its truth before it is cut off and counted as runaway."""


@dataclass(frozen=True)
class Score:
    """Errors of one prompt over some pages.

    Attributes:
        edits: Insertions, deletions and replacements that turn all answers into all truths.
        characters: Of all truths.
        exact: Pages without an edit.
        runaway: Pages that did not end by themselves.
    """

    prompt: str
    pages: int
    edits: int
    characters: int
    exact: int
    runaway: int

    @property
    def error_rate(self) -> float:
        """Character error rate, 0 and up."""
        return self.edits / max(1, self.characters)


@dataclass(frozen=True)
class Reading:
    """A page with what was read on it and what stands there."""

    page: TrainingPage
    answer: str
    truth: str
    ended: bool

    @property
    def edits(self) -> int:
        """Characters to insert, delete or replace to get from the answer to the truth."""
        return edit_distance(self.answer, self.truth)


def evaluation_pages(style: PageStyle, count: int, seed: int = EVALUATION_SEED) -> list[TrainingPage]:
    """`count` pages of held-out sentences and words in this style."""
    return [render_page(replace(style, texts="held_out"), seed + index) for index in range(count)]


def read_pages(
    model: DeepseekOcr, tokenizer: Tokenizer, pages: Sequence[TrainingPage], prompt: str, batch: int = 16
) -> Iterator[Reading]:
    """Decode every page greedily with a preset prompt (`free` or `markdown`); text only is compared, not boxes."""
    for start in range(0, len(pages), batch):
        some = pages[start : start + batch]
        truths = [page.plain if prompt == "free" else page.grounded for page in some]
        longest = max(len(tokenizer.encode(truth)) for truth in truths)
        options = GenerateOptions(
            max_new_tokens=longest + ROOM, no_repeat_ngram_size=0, stop_ids=(tokenizer.eos_token_id,)
        )
        prompts = [_prompt(model, tokenizer, page, prompt) for page in some]
        for page, truth, made in zip(some, truths, generate(model, prompts, options), strict=True):
            ids = made.ids[:-1] if made.finish == "stop" else made.ids
            answer = _text(tokenizer.decode(ids), page, prompt)
            yield Reading(page, answer, _text(truth, page, prompt), made.finish == "stop")


@torch.inference_mode()
def _prompt(model: DeepseekOcr, tokenizer: Tokenizer, page: TrainingPage, prompt: str) -> Prompt:
    views = ocr_views(page.image, default_mode(model.config, page.image.size))
    features = model.image_features(views.global_view, views.tiles, views.grid)
    encoded = encode_prompt(tokenizer, PROMPTS[prompt], len(features))
    return Prompt(encoded.ids, encoded.image_mask, features)


def _text(answer: str, page: TrainingPage, prompt: str) -> str:
    return answer if prompt == "free" else parse(answer, page.image.size, words_in_refs=False).markdown


def evaluate(
    model: DeepseekOcr,
    tokenizer: Tokenizer,
    pages: Sequence[TrainingPage],
    prompt: str,
    report: Callable[[Reading], None] = lambda _: None,
) -> Score:
    """Read all pages with one prompt and count the errors; `report` is told of each page."""
    edits = []
    characters = runaway = 0
    for reading in read_pages(model, tokenizer, pages, prompt):
        report(reading)
        edits.append(reading.edits)
        characters += len(reading.truth)
        runaway += not reading.ended
    return Score(prompt, len(edits), sum(edits), characters, int(np.sum(np.array(edits) == 0)), runaway)


def table(scores: Sequence[Score]) -> str:
    """The scores as lines of aligned columns."""
    lines = [f"{'prompt':<10}{'pages':>7}{'characters':>12}{'error rate':>12}{'exact pages':>13}{'runaway':>9}"]
    for score in scores:
        counts = f"{score.prompt:<10}{score.pages:>7}{score.characters:>12}"
        lines.append(f"{counts}{score.error_rate:>11.2%} {score.exact:>12}{score.runaway:>9}")
    return "\n".join(lines)


def edit_distance(one: str, other: str) -> int:
    """Levenshtein distance in characters, a column of the table per step as bits of one integer (Myers, 1999)."""
    if not one:
        return len(other)
    places: dict[str, int] = {}
    for index, character in enumerate(one):
        places[character] = places.get(character, 0) | 1 << index
    full, last, distance = (1 << len(one)) - 1, 1 << (len(one) - 1), len(one)
    up, down = full, 0  # where the column above is one less, one more
    for character in other:
        same = places.get(character, 0)
        diagonal = (((same & up) + up) ^ up) | same | down
        right_up, right_down = down | ~(diagonal | up) & full, up & diagonal
        distance += bool(right_up & last) - bool(right_down & last)
        right_up, right_down = (right_up << 1 | 1) & full, right_down << 1 & full
        up, down = right_down | ~(diagonal | right_up) & full, right_up & diagonal
    return distance
