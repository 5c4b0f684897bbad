"""The ladder of retries: what is tried when a reading cannot be trusted, and which reading is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from folioscope.config import MODES, Mode, OcrConfig
from folioscope.ink import Ink
from folioscope.read.confidence import geometric_mean
from folioscope.read.part import Part, halves, turned
from folioscope.read.task import Task
from folioscope.read.turning import GLANCE, SURE, is_surer, may_be_turned, surer_way, ways_to_look
from folioscope.tokens import PROMPTS
from folioscope.types import Attempt, Doubt, GenerateOptions, Page, Region, Status, Step, Usage
from folioscope.views import default_mode, reads_tiles

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

GRAVITY: Sequence[Doubt] = ("coverage", "cut", "loop", "turned", "nonsense", "empty")
"""What is worse comes later."""

DIVISIBLE = (PROMPTS["markdown"], PROMPTS["ocr"], PROMPTS["free"])
"""Prompts whose answer for a page is that for its halves, one after the other."""


@dataclass(frozen=True)
class Reading:
    """A page as it was read once.

    Attributes:
        finish: As `Generated.finish`; that of the part that went worst.
        regions: In pixels of the page.
        text_logprobs: Natural-log probabilities of the tokens that spell words.
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
    text_logprobs: tuple[float, ...] = field(default=(), repr=False)

    @property
    def text_confidence(self) -> float | None:
        """Geometric mean probability, 0..1, of the tokens that spell words; None without any."""
        return geometric_mean(sum(self.text_logprobs), len(self.text_logprobs))

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

    @property
    def glance(self) -> bool:
        """Whether it is no reading, but the beginning of one, to compare."""
        return self.step.startswith("glance")


class Ladder:
    """The readings of one page: what is tried next, and what came of it.

    Attributes:
        readings: So far, in order, but for glances; the caller has each added before it asks for the next plan.
        glances: Beginnings of readings of the page turned.
        vain: The reading of the page turned that came to nothing after all.
    """

    def __init__(self, page: Page, ink: Ink, task: Task, config: OcrConfig):
        self.page, self.ink, self.task, self.config = page, ink, task, config
        self.readings: list[Reading] = []
        self.glances: list[Reading] = []
        self.vain: Reading | None = None

    def add(self, reading: Reading) -> None:
        """What came of the last plan."""
        (self.glances if reading.step.startswith("glance") else self.readings).append(reading)

    @property
    def last(self) -> Reading:
        """The last reading, but for a vain one."""
        return next(reading for reading in reversed(self.readings) if reading is not self.vain)

    @property
    def doubts(self) -> frozenset[Doubt]:
        """About the last reading."""
        return frozenset(self.last.doubts if self.readings else ())

    def plans(self) -> Iterator[Plan]:
        """The first reading, then as many others as are allowed and worth trying."""
        yield Plan("first", (Part(self.page.image),), self.task.mode, self.task.options)
        left = self.task.trust.retries
        if left and self._may_be_turned:
            yield from map(self._glance, ways_to_look(self.readings[0], self.ink))
            if degrees := surer_way(self.readings[0], self.glances):
                left -= 1
                yield self._turned(degrees)
                self._judge_turning()
        for step, settles in HELPS.items():
            if left and (settles & self.doubts or self._may_stand_better(step)) and (plan := self._plan(step)):
                left -= 1
                yield plan

    @property
    def _may_be_turned(self) -> bool:
        """Whether the first reading is of a kind, and unsure enough, for the page to be looked at turned."""
        first, task = self.readings[0], self.task
        limited = first.usage.output_tokens == task.options.max_new_tokens or task.cancelled()
        return task.trust.rotate and task.prompt.strip() in DIVISIBLE and not limited and may_be_turned(first)

    def _judge_turning(self) -> None:
        """Doubt the first reading if the page turned, read to its end, is still surer; else the other is vain."""
        first, last = self.readings[0], self.readings[-1]
        if last is first:
            return
        if is_surer(last.text_confidence or 0.0, first.text_confidence or 0.0) and last.finish != "cancelled":
            self.readings[0] = replace(first, doubts=(*first.doubts, "turned"))
        else:
            self.vain = last

    def _may_stand_better(self, step: Step) -> bool:
        """Whether the last reading was of the page turned, without doubts but not sure, and there are ways left."""
        turning = step.startswith("rotate") and self.last.step.startswith("rotate") and not self.glances
        return turning and self.last.text_confidence is not None and self.last.text_confidence < SURE

    @property
    def wants_text_layer(self) -> bool:
        """Whether the page's own text is to stand in for the readings."""
        trust, settles = self.task.trust, TEXT_LAYER_HELPS
        return bool(trust.retries and trust.text_layer and self.page.text_layer and settles & self.doubts)

    def _plan(self, step: Step) -> Plan | None:
        """What a step does to this page; None if it is not wanted, or would do what has been done."""
        task, whole = self.task, (Part(self.page.image),)
        as_before, strict = replace(task.options, stop_loops=True), stricter(task.options)
        if step == "ngram":
            return Plan(step, whole, task.mode, strict) if strict != as_before else None
        looped = any({"loop", "cut"} & set(reading.doubts) for reading in self.readings)
        options = strict if looped else as_before
        if step == "temperature":
            return Plan(step, whole, task.mode, warmer(options, task.trust.retry_temperature))
        if step == "mode":
            return self._other_mode(options)
        seen = bool(self.glances)  # by which all ways that are worth it were compared
        return self._turned(int(step.removeprefix("rotate")), options) if task.trust.rotate and not seen else None

    def _turned(self, degrees: int, options: GenerateOptions | None = None) -> Plan:
        options = options or replace(self.task.options, stop_loops=True)
        step: Step = f"rotate{degrees}"  # pyright: ignore[reportAssignmentType]
        return Plan(step, (turned(self.page.image, degrees),), self.task.mode, options)

    def _glance(self, degrees: int) -> Plan:
        step: Step = f"glance{degrees}"  # pyright: ignore[reportAssignmentType]
        options = replace(self.task.options, stop_loops=True, max_new_tokens=GLANCE)
        return Plan(step, (turned(self.page.image, degrees),), self.task.mode, options)

    @property
    def kept(self) -> Reading:
        """The best of the readings."""
        return best([reading for reading in self.readings if reading is not self.vain])

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All of them, in order."""
        kept, first = self.kept, self.readings[:1]
        return tuple(reading.attempt(reading is kept) for reading in (*first, *self.glances, *self.readings[1:]))

    def _other_mode(self, options: GenerateOptions) -> Plan | None:
        """With tiles if it was without and the checkpoint knows them; else in halves, if the prompt allows."""
        task, image = self.task, self.page.image
        mode = task.mode or default_mode(self.config, image.size)
        if not mode.crop_mode and reads_tiles(self.config):
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
    """The reading to keep: the one whose gravest doubt is the least, if it has any; of those alike, the surest.

    But nonsense is not kept of a page that was turned, which tends to be surer.
    """

    def worth(reading: Reading) -> tuple[int, int, int, float]:
        vain = reading.step.startswith("rotate") and "nonsense" in reading.doubts
        grave = max((GRAVITY.index(doubt) for doubt in reading.doubts), default=-1)
        known = (reading.text_confidence, reading.confidence, 1.0)
        sure = next(confidence for confidence in known if confidence is not None) * (reading.coverage or 1.0)
        return -grave, -vain, -len(reading.doubts), sure

    return max(readings, key=worth)
