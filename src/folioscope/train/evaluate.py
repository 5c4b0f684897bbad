"""How well a reader reads: free decoding of freshly drawn pages whose text training never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image

from folioscope.evaluate.edit import edit_distance
from folioscope.evaluate.texts import one_line
from folioscope.generate import Prompt, generate
from folioscope.grounding import parse
from folioscope.ink import ink_of
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import PROMPTS, Tokenizer, encode_prompt
from folioscope.train.layout import PageStyle
from folioscope.train.layout_score import LayoutScore, compare_regions
from folioscope.train.render import TrainingPage, render_page
from folioscope.train.trials import Trial
from folioscope.types import GenerateOptions
from folioscope.views import default_mode, ocr_views

EVALUATION_SEED = 7_000_000
"""First seed of evaluation pages; their sentences and words are held out, so no seed of training draws them."""

ROOM = 64
"""A page may answer this many tokens more than its truth before it is cut off and counted as runaway."""


@dataclass(frozen=True)
class Score:
    """One row of the table.

    Attributes:
        edits: Insertions, deletions and replacements that turn all answers into all truths.
        characters: Of all truths.
        exact: Pages without an edit.
        runaway: Pages that did not end by themselves.
        loose_edits: As `edits`, but any run of blanks and line ends counts as one blank.
        rival_edits: The same of the other reader, if it was asked.
        layout: How well regions were found, for the prompt that asks for them.
        unfitted: The same with boxes as the model wrote them, not fitted to the page's ink.
    """

    trial: str
    pages: int
    edits: int
    characters: int
    exact: int
    runaway: int
    loose_edits: int = 0
    rival_edits: int | None = None
    layout: LayoutScore | None = None
    unfitted: LayoutScore | None = None

    def rate(self, edits: int) -> float:
        """Errors in a hundredth of the characters, 0 and up."""
        return edits / max(1, self.characters)


@dataclass(frozen=True)
class Reading:
    """A page with what was read on it and what stands there."""

    page: TrainingPage
    answer: str
    truth: str
    ended: bool
    layout: LayoutScore = field(default_factory=LayoutScore)
    unfitted: LayoutScore = field(default_factory=LayoutScore)
    rival: str | None = None

    @property
    def edits(self) -> int:
        """Characters to insert, delete or replace to get from the answer to the truth."""
        return edit_distance(self.answer, self.truth)


def evaluation_pages(style: PageStyle, count: int, seed: int = EVALUATION_SEED) -> list[TrainingPage]:
    """`count` pages of this style, which should be one of held-out texts."""
    return [render_page(style, seed + index) for index in range(count)]


def read_pages(
    model: DeepseekOcr, tokenizer: Tokenizer, pages: Sequence[TrainingPage], prompt: str, batch: int = 16
) -> Iterator[Reading]:
    """Decode every page greedily with a preset prompt (`free` or `markdown`)."""
    for start in range(0, len(pages), batch):
        some = pages[start : start + batch]
        truths = [page.plain if prompt == "free" else page.grounded for page in some]
        answers = decode(model, tokenizer, [page.image for page in some], prompt, truths)
        for page, truth, (answer, ended) in zip(some, truths, answers, strict=True):
            yield _reading(page, prompt, answer, truth, ended)


def decode(
    model: DeepseekOcr, tokenizer: Tokenizer, images: Sequence[Image.Image], prompt: str, truths: Sequence[str]
) -> list[tuple[str, bool]]:
    """The answer to each image, and whether it ended before it was `ROOM` tokens longer than the longest truth."""
    longest = max(len(tokenizer.encode(truth)) for truth in truths)
    options = GenerateOptions(max_new_tokens=longest + ROOM, no_repeat_ngram_size=0, stop_ids=(tokenizer.eos_token_id,))
    made = generate(model, [_prompt(model, tokenizer, image, prompt) for image in images], options)
    ended = [one.finish == "stop" for one in made]
    ids = [one.ids[:-1] if end else one.ids for one, end in zip(made, ended, strict=True)]
    return [(tokenizer.decode(some), end) for some, end in zip(ids, ended, strict=True)]


@torch.inference_mode()
def _prompt(model: DeepseekOcr, tokenizer: Tokenizer, image: Image.Image, prompt: str) -> Prompt:
    views = ocr_views(image, default_mode(model.config, image.size))
    features = model.image_features(views.global_view, views.tiles, views.grid)
    encoded = encode_prompt(tokenizer, PROMPTS[prompt], len(features))
    return Prompt(encoded.ids, encoded.image_mask, features)


def _reading(page: TrainingPage, prompt: str, answer: str, truth: str, ended: bool) -> Reading:
    if prompt == "free":
        return Reading(page, answer, truth, ended)
    read, there = (parse(text, page.image.size, words_in_refs=False) for text in (answer, truth))
    ink = ink_of(page.image)
    fitted = [ink.fitted_region(region) for region in read.regions]
    layout, unfitted = (compare_regions(regions, there.regions) for regions in (fitted, read.regions))
    return Reading(page, read.markdown, there.markdown, ended, layout, unfitted)


def evaluate(
    model: DeepseekOcr,
    tokenizer: Tokenizer,
    trial: Trial,
    count: int,
    report: Callable[[Reading], None] = lambda _: None,
    rival: Callable[[Image.Image], str] | None = None,
) -> Score:
    """Read `count` pages of a trial and count the errors.

    Args:
        report: Told of each page.
        rival: Another reader of the same images, counted beside; of plain text only.
    """
    readings: list[Reading] = []
    for reading in read_pages(model, tokenizer, evaluation_pages(trial.style, count), trial.prompt):
        report(reading)
        readings.append(reading)
    of_regions = trial.prompt == "markdown"
    return Score(
        trial.name,
        pages=len(readings),
        edits=sum(reading.edits for reading in readings),
        characters=sum(len(reading.truth) for reading in readings),
        exact=sum(reading.edits == 0 for reading in readings),
        runaway=sum(not reading.ended for reading in readings),
        loose_edits=sum(_loose_edits(reading.answer, reading.truth) for reading in readings),
        rival_edits=None if rival is None else sum(_loose_edits(rival(r.page.image), r.page.plain) for r in readings),
        layout=sum((reading.layout for reading in readings), LayoutScore()) if of_regions else None,
        unfitted=sum((reading.unfitted for reading in readings), LayoutScore()) if of_regions else None,
    )


def _loose_edits(answer: str, truth: str) -> int:
    return edit_distance(one_line(answer), one_line(truth))


HEADINGS = (
    *("trial", "pages", "characters", "errors", "loose", "rival", "exact", "runaway"),
    *("region F1", "unfitted", "labels"),
)


def table(scores: Sequence[Score]) -> str:
    """The scores as lines of aligned columns. Errors are shares of the characters; loose takes blanks for equal."""
    rows = [HEADINGS, *map(_cells, scores)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(_aligned, row, widths)).rstrip() for row in rows)


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() or cell in HEADINGS[1:] or cell == "-" else cell.ljust(width)


def _cells(score: Score) -> tuple[str, ...]:
    rival = "-" if score.rival_edits is None else f"{score.rate(score.rival_edits):.2%}"
    regions = ("-", "-", "-")
    if score.layout and score.unfitted:
        layout, unfitted = score.layout, score.unfitted
        regions = f"{layout.f1:.3f}", f"{unfitted.f1:.3f}", f"{layout.label_accuracy:.3f}"
    errors = f"{score.rate(score.edits):.2%}", f"{score.rate(score.loose_edits):.2%}", rival
    counts = str(score.pages), str(score.characters)
    return score.trial, *counts, *errors, str(score.exact), str(score.runaway), *regions
