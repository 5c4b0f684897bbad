"""The story of a page: how it is read, and read again, until a reading can be trusted or nothing is left to try."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from folioscope.config import Mode
from folioscope.generate import Prompt, Request, Story
from folioscope.ink import ink_of
from folioscope.model.ocr import DeepseekOcr
from folioscope.pages import UnreadablePage
from folioscope.read.ladder import Ladder, Plan, Reading
from folioscope.read.part import Part
from folioscope.read.result import (
    BETWEEN,
    Draft,
    Written,
    blank_page,
    failed_page,
    page_result,
    reading,
    text_layer_reading,
)
from folioscope.read.task import Task
from folioscope.tokens import TextStream, Tokenizer, encode_prompt
from folioscope.types import InputError, Page, PageResult, StreamEvent
from folioscope.views import default_mode, ocr_views


class _NoRoom(Exception):
    """A prompt does not fit the model."""


@dataclass(frozen=True)
class Teller:
    """Tells stories of pages, with one checkpoint."""

    model: DeepseekOcr
    tokenizer: Tokenizer

    def page(self, page: Page | UnreadablePage, task: Task) -> Story[PageResult]:
        """One page, to its result; its events go to `task.emit`."""
        if isinstance(page, UnreadablePage):
            result = failed_page(page, page.error)
        else:
            try:
                result = yield from self._readings(page, task)
            except _NoRoom as error:
                result = failed_page(page, str(error))
        task.emit(StreamEvent(page.number, result=result))
        return result

    def _readings(self, page: Page, task: Task) -> Story[PageResult]:
        ink = ink_of(page.image)
        if task.trust.skip_blank and ink.blank:
            return blank_page(page)
        ladder = Ladder(page, ink, task, self.model.config)
        for plan in ladder.plans():
            if ladder.readings and not plan.glance:
                task.emit(StreamEvent(page.number, restart=plan.step))
            try:
                ladder.add((yield from self._reading(page, plan, ladder)))
            except (_NoRoom, InputError):
                if not ladder.readings:
                    raise
        if ladder.wants_text_layer:
            ladder.add(text_layer_reading(page, ink, task))
        result = page_result(page, ladder)
        if ladder.kept is not ladder.readings[-1] or result.status == "fallback":
            task.emit(StreamEvent(page.number, restart=ladder.kept.step))
            task.emit(StreamEvent(page.number, result.raw))
        return result

    def _reading(self, page: Page, plan: Plan, ladder: Ladder) -> Story[Reading]:
        """Read a page once: image tokens → prompt → token ids, for each of its parts; then text and regions."""
        task = replace(ladder.task, emit=lambda event: None) if plan.glance else ladder.task
        start, written = time.perf_counter(), list[Written]()
        for part in plan.parts:
            if written:
                task.emit(StreamEvent(page.number, BETWEEN))
            draft = self._draft(part, plan.mode, task.prompt)
            try:
                answer = yield self._request(draft, plan, page.number, task)
            except InputError as error:
                raise _NoRoom(error) from error
            if rest := draft.text.finish():
                task.emit(StreamEvent(page.number, rest))
            written.append(Written(draft, answer))
        return reading(self.tokenizer, page, plan, written, ladder.ink, task, time.perf_counter() - start)

    def _request(self, draft: Draft, plan: Plan, number: int, task: Task) -> Request:
        def show(token: int, _logprob: float) -> None:
            if token not in plan.options.stop_ids and (text := draft.text.push(token)):
                task.emit(StreamEvent(number, text))

        return Request(draft.prompt, plan.options, on_token=show, cancelled=task.cancelled)

    @torch.inference_mode()
    def _draft(self, part: Part, mode: Mode | None, prompt: str) -> Draft:
        config = self.model.config
        views = ocr_views(part.image, mode or default_mode(config, part.image.size))
        for seen in (views.global_view, views.tiles):
            if seen is not None:
                config.tokens_per_side(seen.shape[-1])  # refuses a size that the encoder cannot divide
        features = self.model.image_features(views.global_view, views.tiles, views.grid)  # (slots, hidden)
        encoded = encode_prompt(self.tokenizer, prompt, len(features))
        return Draft(part, Prompt(encoded.ids, encoded.image_mask, features), TextStream(self.tokenizer))
