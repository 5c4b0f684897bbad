"""Which way up a page is, and what a reading of the page turned must come to."""

from __future__ import annotations

import math
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from conftest import ROOT
from folioscope.config import OcrConfig
from folioscope.ink import ink_of
from folioscope.read import Reader
from folioscope.read.confidence import text_logprobs
from folioscope.read.ladder import Ladder, Reading
from folioscope.read.task import Task
from folioscope.read.turning import GLANCE, may_be_turned, surer_way, ways_to_look
from folioscope.tokens import PROMPTS
from folioscope.train.recipe import EMBEDDED_CONFIG
from folioscope.types import GenerateOptions, Page, Step

WORDS = "The first frost came early this year, and we have picked the apples.\n"


def text_page(turned: int = 0) -> Image.Image:
    image, words = Image.new("RGB", (500, 400), "white"), WORDS.split()
    for line in range(14):
        text = " ".join(words[line % 5 :] + words[: line % 3])
        ImageDraw.Draw(image).text((30, 30 + 24 * line), text, fill="black", font=ImageFont.load_default(14))
    return image.rotate(-turned, expand=True)


def reading(step: Step, confidence: float, tokens: int = 200, raw: str = WORDS, finish: str = "stop") -> Reading:
    return Reading(step, finish, raw, confidence=confidence, text_logprobs=(math.log(confidence),) * tokens)


@pytest.mark.parametrize(("turned", "in_lines"), [(0, True), (180, True), (90, False), (270, False)])
def test_lines_across_are_seen(turned: int, in_lines: bool) -> None:
    assert ink_of(text_page(turned)).in_lines is in_lines


def test_blank_pages_have_no_lines() -> None:
    assert not ink_of(Image.new("RGB", (9, 9), "white")).in_lines


def test_long_text_in_lines_can_only_stand_on_its_head() -> None:
    ink = ink_of(text_page())
    assert ways_to_look(reading("first", 0.7), ink) == (180,)
    assert ways_to_look(reading("first", 0.7, tokens=GLANCE), ink) == (90, 180, 270)
    assert ways_to_look(reading("first", 0.7), ink_of(text_page(90))) == (90, 180, 270)


def test_sure_pages_and_empty_ones_are_not_looked_at() -> None:
    assert may_be_turned(reading("first", 0.89))
    assert not may_be_turned(reading("first", 0.91))
    assert not may_be_turned(reading("first", 0.5, tokens=0))


@pytest.mark.parametrize(
    ("first", "glances", "way"),
    [
        (0.7, {"glance180": 0.95}, 180),
        (0.7, {"glance90": 0.85, "glance180": 0.9, "glance270": 0.88}, 180),
        (0.85, {"glance180": 0.95}, None),  # hardly surer
        (0.3, {"glance180": 0.48}, None),  # noise
        (0.7, {}, None),
    ],
)
def test_the_surest_way_must_be_clearly_surer(first: float, glances: dict[Step, float], way: int | None) -> None:
    assert surer_way(reading("first", first), [reading(step, sure) for step, sure in glances.items()]) == way


def test_nonsense_is_no_way_however_sure() -> None:
    assert surer_way(reading("first", 0.5), [reading("glance180", 0.99, raw="g q g\n" * 9)]) is None


def test_the_same_stretch_is_compared() -> None:
    fading = Reading("first", text_logprobs=(math.log(0.9),) * 50 + (math.log(0.1),) * 50)
    assert surer_way(fading, [reading("glance180", 0.8, tokens=50)]) is None
    assert surer_way(fading, [reading("glance180", 0.8, tokens=100)]) == 180


@pytest.mark.parametrize(
    ("full", "kept", "doubts"),
    [
        (reading("rotate180", 0.9), "rotate180", ("turned",)),
        (reading("rotate180", 0.5), "first", ()),  # only its beginning was surer
        (reading("rotate180", 0.9, finish="cancelled"), "first", ()),
    ],
)
def test_a_page_turned_is_kept_if_all_of_it_is_surer(full: Reading, kept: Step, doubts: tuple) -> None:
    options = GenerateOptions()
    page, task = Page(text_page()), Task(iter(()), PROMPTS["markdown"], None, options)
    ladder = Ladder(page, ink_of(page.image), task, OcrConfig.from_dict(dict(EMBEDDED_CONFIG)))
    answers = {"first": reading("first", 0.7), "glance180": reading("glance180", 0.9), "rotate180": full}
    steps = []
    for plan in ladder.plans():
        steps.append(plan.step)
        ladder.add(answers[plan.step])
    assert steps == ["first", "glance180", "rotate180"]
    assert (ladder.kept.step, ladder.readings[0].doubts) == (kept, doubts)
    assert [attempt.kept for attempt in ladder.attempts].count(True) == 1


def test_the_embedded_reader_turns_a_receipt(embedded_reader: Any) -> None:
    image = Image.open(ROOT / "examples" / "receipt.png").convert("RGB")
    reader = Reader(*embedded_reader)
    (upright,) = reader.read(image)
    assert upright.status == "ok"
    for turned in (90, 180):
        (page,) = reader.read(image.rotate(-turned, expand=True))
        assert (page.status, page.markdown) == ("rotated", upright.markdown)
        assert "turned" in page.attempts[0].doubts
        across, down = page.size
        for left, top, right, bottom in (region.box for region in page.regions if region.box):
            assert 0 <= left < right <= across
            assert 0 <= top < bottom <= down


def test_only_words_count() -> None:
    raw = "<|ref|>title<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\n# Hi <td>yo</td> <|det|>[["
    spans = [(index, index + 1) for index in range(len(raw))]
    marks = [float(index) for index in range(len(raw))]

    def spelled(words_in_refs: bool | None) -> str:
        return "".join(raw[int(mark)] for mark in text_logprobs(raw, spans, marks, words_in_refs))

    assert spelled(False) == "#Hiyo"
    assert spelled(True) == "title#Hiyo"
