"""What the model wrote about the parts of a page → a reading; a page's readings → its result."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from folioscope.generate import Prompt
from folioscope.grounding import Grounded, parse
from folioscope.ink import Ink
from folioscope.pages import UnreadablePage
from folioscope.read.confidence import geometric_mean, span_confidence, text_logprobs
from folioscope.read.doubts import doubts_of
from folioscope.read.ladder import Ladder, Plan, Reading
from folioscope.read.part import Part
from folioscope.read.task import Task
from folioscope.read.turning import turned_trust
from folioscope.tokens import LOCATE_WORDS, PROMPTS, TextStream, Tokenizer, token_spans
from folioscope.types import Box, Generated, Page, PageResult, Region, Usage

BETWEEN = "\n\n"
"""Between the texts of a page's parts."""

EMPTY = "nothing was read, though there is ink on it; try another mode or prompt"

_LINK = re.compile(r"!\[\]\(images/(\d{1,9})\.jpg\)")
_FINISHES = ("cancelled", "loop", "length", "stop")


@dataclass(frozen=True)
class Draft:
    """A part about to be written; `text` decodes its tokens as they come."""

    part: Part
    prompt: Prompt
    text: TextStream


@dataclass(frozen=True)
class Written:
    """What the model wrote about a part."""

    draft: Draft
    answer: Generated


def reading(
    tokenizer: Tokenizer, page: Page, plan: Plan, written: Sequence[Written], ink: Ink, task: Task, seconds: float
) -> Reading:
    """Text, Markdown and regions of a page from the token ids of its parts."""
    parts = [_parsed(tokenizer, one, task.prompt) for one in written]
    regions, markdown = _joined(parts)
    of_blocks = words_in_refs(task.prompt) is False
    if of_blocks and task.trust.fit_boxes:
        sideways = written[0].draft.part.turned % 180 != 0
        regions = [ink.fitted_region(region, sideways=sideways) for region in regions]
    raw, answers = BETWEEN.join(part.raw for part in parts), [one.answer for one in written]
    words = tuple(logprob for part in parts for logprob in part.text_logprobs)
    finish = min((answer.finish for answer in answers), key=_FINISHES.index)
    confidence = geometric_mean(
        sum(sum(answer.logprobs) for answer in answers), sum(len(answer.ids) for answer in answers)
    )
    covered = ink.inside([box for region in regions for box in region.boxes])
    coverage = covered if of_blocks else None
    limited = any(len(answer.ids) == plan.options.max_new_tokens for answer in answers)
    sure, trust = confidence, task.trust
    if plan.step.startswith("rotate"):
        sure, trust = geometric_mean(sum(words), len(words)), turned_trust(trust)
    return Reading(
        step=plan.step,
        finish=finish,
        raw=raw,
        markdown=markdown,
        regions=tuple(_with_points(region, page) for region in regions),
        confidence=confidence,
        coverage=coverage,
        doubts=doubts_of(raw, finish, sure, coverage, trust, limited=limited),
        usage=_usage(written, seconds),
        text_logprobs=words,
    )


@dataclass(frozen=True)
class _Parsed:
    """A part as if it were the page."""

    part: Part
    raw: str
    grounded: Grounded
    text_logprobs: tuple[float, ...]


def _parsed(tokenizer: Tokenizer, written: Written, prompt: str) -> _Parsed:
    part, answer = written.draft.part, written.answer
    ids = answer.ids[:-1] if answer.finish == "stop" else answer.ids
    raw = tokenizer.decode(ids)
    spans, in_refs = token_spans(tokenizer, ids), words_in_refs(prompt)
    confidence = span_confidence(spans, answer.logprobs)
    grounded = parse(raw, part.image.size, confidence=confidence, words_in_refs=in_refs)
    return _Parsed(part, raw, grounded, text_logprobs(raw, spans, answer.logprobs, in_refs))


def _joined(parts: Sequence[_Parsed]) -> tuple[list[Region], str]:
    """Regions in pixels of the page, and Markdown, figures numbered through."""
    regions: list[Region] = []
    markdowns: list[str] = []
    figures = 0
    for one in parts:
        regions += (one.part.region_on_page(region, figures) for region in one.grounded.regions)
        markdowns.append(
            _LINK.sub(lambda link, base=figures: f"![](images/{int(link[1]) + base}.jpg)", one.grounded.markdown)
        )
        figures += sum(len(region.boxes) for region in one.grounded.regions if region.figure is not None)
    return regions, BETWEEN.join(filter(None, markdowns))


def _usage(written: Sequence[Written], seconds: float) -> Usage:
    prompts = [one.draft.prompt for one in written]
    return Usage(
        sum(sum(prompt.image_mask) for prompt in prompts),
        sum(len(prompt.ids) for prompt in prompts),
        sum(len(one.answer.ids) for one in written),
        seconds,
    )


def _with_points(region: Region, page: Page) -> Region:
    if page.points is None:
        return region
    across, down = page.points[0] / page.image.width, page.points[1] / page.image.height

    def points(box: Box) -> Box:
        return box[0] * across, box[1] * down, box[2] * across, box[3] * down

    return replace(region, boxes_points=tuple(map(points, region.boxes)))


def text_layer_reading(page: Page, ink: Ink, task: Task) -> Reading:
    """The text that the PDF holds itself."""
    regions = page.text_layer() if page.text_layer else ()
    text = BETWEEN.join(region.text for region in regions)
    coverage = ink.inside([box for region in regions for box in region.boxes])
    return Reading(
        "text_layer",
        raw=text,
        markdown=text,
        regions=tuple(_with_points(region, page) for region in regions),
        coverage=coverage,
        doubts=doubts_of(text, "stop", None, coverage, task.trust),
    )


def page_result(page: Page, ladder: Ladder) -> PageResult:
    """The best of a page's readings, and what all of them cost."""
    kept, usages = ladder.kept, [reading.usage for reading in (*ladder.readings, *ladder.glances)]
    return PageResult(
        number=page.number,
        source=page.source,
        size=page.image.size,
        status=kept.status,
        raw=kept.raw,
        markdown=kept.markdown,
        regions=kept.regions,
        confidence=kept.confidence,
        usage=Usage(
            sum(usage.image_tokens for usage in usages),
            sum(usage.prompt_tokens for usage in usages),
            sum(usage.output_tokens for usage in usages),
            sum(usage.seconds for usage in usages),
        ),
        points=page.points,
        error=EMPTY if kept.status == "failed" else None,
        coverage=kept.coverage,
        attempts=ladder.attempts,
        pixels=_pixels(page),
    )


def blank_page(page: Page) -> PageResult:
    """The result of a page with nothing on it."""
    return PageResult(page.number, page.source, page.image.size, "blank", points=page.points, pixels=_pixels(page))


def failed_page(page: Page | UnreadablePage, error: str) -> PageResult:
    """The result of a page that could not be had (its size is (0, 0)) or not be read."""
    if isinstance(page, UnreadablePage):
        return PageResult(page.number, page.source, (0, 0), "failed", error=error)
    return replace(blank_page(page), status="failed", error=error)


def _pixels(page: Page) -> Callable[[], Image.Image]:
    image = page.image
    return page.again or (lambda: image)


def words_in_refs(prompt: str) -> bool | None:
    """Whether the answer's refs hold words of the page (True) or labels (False); None for prompts without either."""
    text = prompt.strip()
    before, after = PROMPTS["locate"].split(LOCATE_WORDS)
    if text == PROMPTS["ocr"] or (text.startswith(before) and text.endswith(after)):
        return True
    return False if text == PROMPTS["markdown"] else None
