"""What the model wrote about a page → the page's result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from folioscope.generate import Prompt
from folioscope.grounding import parse
from folioscope.pages import UnreadablePage
from folioscope.read.confidence import geometric_mean, span_confidence
from folioscope.tokens import LOCATE_WORDS, PROMPTS, TextStream, Tokenizer, token_spans
from folioscope.types import Generated, Page, PageResult, Status, Usage

STATUS: Mapping[str, Status] = {"stop": "ok", "length": "truncated", "loop": "repeated", "cancelled": "truncated"}


@dataclass(frozen=True)
class Draft:
    """A page about to be written; `text` decodes its tokens as they come."""

    page: Page
    prompt: Prompt
    text: TextStream


def page_result(tokenizer: Tokenizer, draft: Draft, answer: Generated, prompt: str, seconds: float) -> PageResult:
    """Text, Markdown and regions of one page from its token ids; `prompt` is the text the model was asked with."""
    page = draft.page
    ids = answer.ids[:-1] if answer.finish == "stop" else answer.ids
    raw = tokenizer.decode(ids)
    grounded = parse(
        raw,
        page.image.size,
        points=page.points,
        confidence=span_confidence(token_spans(tokenizer, ids), answer.logprobs),
        words_in_refs=words_in_refs(prompt),
    )
    return PageResult(
        number=page.number,
        source=page.source,
        size=page.image.size,
        status=STATUS[answer.finish],
        raw=raw,
        markdown=grounded.markdown,
        regions=grounded.regions,
        confidence=geometric_mean(sum(answer.logprobs), len(answer.logprobs)),
        usage=Usage(sum(draft.prompt.image_mask), len(draft.prompt.ids), len(answer.ids), seconds),
        points=page.points,
        pixels=page.again or (lambda: page.image),
    )


def failed_page(page: Page | UnreadablePage, error: str) -> PageResult:
    """The result of a page that could not be had (its size is (0, 0)) or not be read."""
    if isinstance(page, UnreadablePage):
        return PageResult(page.number, page.source, (0, 0), "failed", error=error)
    return PageResult(
        page.number,
        page.source,
        page.image.size,
        "failed",
        points=page.points,
        error=error,
        pixels=page.again or (lambda: page.image),
    )


def words_in_refs(prompt: str) -> bool | None:
    """Whether the answer's refs hold words of the page (True) or labels (False); None for prompts without either."""
    text = prompt.strip()
    before, after = PROMPTS["locate"].split(LOCATE_WORDS)
    if text == PROMPTS["ocr"] or (text.startswith(before) and text.endswith(after)):
        return True
    return False if text == PROMPTS["markdown"] else None
