"""The ladder of retries: what is tried when a reading cannot be trusted, and which reading is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from folioscope.config import MODES, Mode, OcrConfig
from folioscope.ink import Ink
from folioscope.read.part import Part, halves, turned
from folioscope.read.task import Task
from folioscope.tokens import PROMPTS
from folioscope.types import Attempt, Doubt, GenerateOptions, Page, Region, Status, Step, Usage
from folioscope.views import TILE, default_mode

STRICT_SIZE, STRICT_WINDOW = 20, 400
"""The n-gram rule of retries: no 20-gram twice within 400 tokens, table tags exempt. The published windows of 50 and 90
tokens let cycles of more than some 60 tokens pass."""

HELPS: Mapping[Step, frozenset[Doubt]] = {
    "ngram": frozenset({"loop", "cut"}),
    "temperature": frozenset({"loop", "cut", "empty", "nonsense"}),
    "mode": frozenset({"loop", "cut", "empty", "nonsense", "coverage"}),
    "rotate90": frozenset({"loop", "empty", "nonsense"}),
    "rotate180": frozenset({"loop", "empty", "nonsense"}),
    "rotate270": frozenset({"loop", "empty", "nonsense"}),
}
"""The readings after the first, in order, and the doubts about the last reading that each may settle."""

TEXT_LAYER_HELPS = frozenset({"loop", "cut", "empty", "nonsense"})
"""The doubts about the last reading for which a PDF's own text is taken instead."""

SURE = 0.9
"""A turned page that is read with at least this confidence is the right way up; else all ways are compared, for a small
model may make sense of a page that stands on its head."""

GRAVITY: Sequence[Doubt] = ("coverage", "cut", "loop", "nonsense", "empty")
"""What is worse comes later."""

DIVISIBLE = (PROMPTS["markdown"], PROMPTS["ocr"], PROMPTS["free"])
"""Prompts whose answer for a page is that for its halves, one after the other."""


@dataclass(frozen=True)
class Reading:
    """A page as it was read once.

    Attributes:
        finish: As `Generated.finish`; that of the part that went worst.
        regions: In pixels of the page.
    """

    step: Step
    finish: str = "stop"
    raw: str = ""
    markdown: str = ""
    regions: tuple[Region, ...] = ()
    confidence: float | None = None
    coverage: float | None = None
    doubts: tuple[Doubt, ...] = ()
    usage: Usage = field(default_factory=Usage)

    @property
    def status(self) -> Status:
        if "empty" in self.doubts:
            return "failed"
        if self.finish == "loop":
            return "repeated"
        if self.finish != "stop" or "cut" in self.doubts:
            return "truncated"
        if self.step == "text_layer":
            return "fallback"
        if self.step.startswith("rotate"):
            return "rotated"
        return "ok" if self.step == "first" else "retried"

    def attempt(self, kept: bool) -> Attempt:
        tokens = self.usage.output_tokens
        return Attempt(self.step, self.finish, self.doubts, self.confidence, self.coverage, tokens, kept)


@dataclass(frozen=True)
class Plan:
    """How a page is read at one step: the parts it is shown in, the mode, and how tokens are chosen."""

    step: Step
    parts: tuple[Part, ...]
    mode: Mode | None
    options: GenerateOptions


class Ladder:
    """The readings of one page: what is tried next, and what came of it.

    Attributes:
        readings: So far, in order; the caller adds each before it asks for the next plan.
    """

    def __init__(self, page: Page, ink: Ink, task: Task, config: OcrConfig):
        self.page, self.ink, self.task, self.config = page, ink, task, config
        self.readings: list[Reading] = []

    @property
    def doubts(self) -> frozenset[Doubt]:
        """About the last reading."""
        return frozenset(self.readings[-1].doubts if self.readings else ())

    def plans(self) -> Iterator[Plan]:
        """The first reading, then as many others as are allowed and worth trying."""
        yield Plan("first", (Part(self.page.image),), self.task.mode, self.task.options)
        left = self.task.trust.retries
        for step, settles in HELPS.items():
            if left and (settles & self.doubts or self._may_stand_better(step)) and (plan := self._plan(step)):
                left -= 1
                yield plan

    def _may_stand_better(self, step: Step) -> bool:
        """Whether the last reading was of the page turned, without doubts but not sure, and there are ways left."""
        last = self.readings[-1]
        turning = step.startswith("rotate") and last.step.startswith("rotate")
        return turning and last.confidence is not None and last.confidence < SURE

    @property
    def wants_text_layer(self) -> bool:
        """Whether the page's own text is to stand in for the readings."""
        trust, settles = self.task.trust, TEXT_LAYER_HELPS
        return bool(trust.retries and trust.text_layer and self.page.text_layer and settles & self.doubts)

    def _plan(self, step: Step) -> Plan | None:
        """What a step does to this page; None if it is not wanted, or would do what has been done."""
        task, page, whole = self.task, self.page, (Part(self.page.image),)
        as_before, strict = replace(task.options, stop_loops=True), stricter(task.options)
        if step == "ngram":
            return Plan(step, whole, task.mode, strict) if strict != as_before else None
        looped = any({"loop", "cut"} & set(reading.doubts) for reading in self.readings)
        options = strict if looped else as_before
        if step == "temperature":
            return Plan(step, whole, task.mode, warmer(options, task.trust.retry_temperature))
        if step == "mode":
            return self._other_mode(options)
        part = turned(page.image, int(step.removeprefix("rotate")))
        return Plan(step, (part,), task.mode, options) if task.trust.rotate else None

    def _other_mode(self, options: GenerateOptions) -> Plan | None:
        """With tiles if it was without and the checkpoint knows them; else in halves, if the prompt allows."""
        task, image = self.task, self.page.image
        mode = task.mode or default_mode(self.config, image.size)
        if not mode.crop_mode and self.config.view_sizes[-1] >= TILE:
            return Plan("mode", (Part(image),), MODES["gundam"], options)
        if task.prompt.strip() in DIVISIBLE and min(image.size) > 1:
            return Plan("mode", halves(image, self.ink), task.mode, options)
        return None


def stricter(options: GenerateOptions) -> GenerateOptions:
    """The options under the n-gram rule of retries, or under their own if that is as strict."""
    size, window = options.no_repeat_ngram_size, options.ngram_window
    if 0 < size <= STRICT_SIZE and window >= STRICT_WINDOW:
        return replace(options, stop_loops=True)
    return replace(options, stop_loops=True, no_repeat_ngram_size=STRICT_SIZE, ngram_window=STRICT_WINDOW)


def warmer(options: GenerateOptions, temperature: float) -> GenerateOptions:
    """The options with at least this temperature, and numbers of their own, the same in every run."""
    seed = 1 if options.seed is None else options.seed + 1
    return replace(options, temperature=max(temperature, options.temperature), seed=seed)


def best(readings: Sequence[Reading]) -> Reading:
    """The reading to keep: the one whose gravest doubt is the least, if it has any; of those alike, the surest."""

    def worth(reading: Reading) -> tuple[int, int, float]:
        grave = max((GRAVITY.index(doubt) for doubt in reading.doubts), default=-1)
        sure = (1.0 if reading.confidence is None else reading.confidence) * (reading.coverage or 1.0)
        return -grave, -len(reading.doubts), sure

    return max(readings, key=worth)
