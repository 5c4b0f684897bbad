"""Stories told side by side: places, retries, ends in any order, and errors where they belong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from folioscope.generate import Batcher, Request, Story, converse
from folioscope.types import GenerateOptions, InputError
from scripted_model import ScriptedModel, counting, text

UP_TO_7 = GenerateOptions(no_repeat_ngram_size=0, stop_ids=(7,))


def count_up(start: int) -> Story[tuple[int, ...]]:
    return (yield Request(text(start), UP_TO_7)).ids


def batcher(slots: int = 2) -> Batcher:
    return Batcher(ScriptedModel(counting), slots)


def test_results_come_as_they_end_and_all_come() -> None:
    told = list(converse(batcher(), map(count_up, (1, 5, 6, 4))))
    assert told == [(6, 7), (7,), (2, 3, 4, 5, 6, 7), (5, 6, 7)]


def test_a_story_may_ask_again_and_keeps_its_place() -> None:
    def again(start: int) -> Story[list[int]]:
        first = yield Request(text(start), UP_TO_7)
        second = yield Request(text(*first.ids[:1]), UP_TO_7)
        return [len(first.ids), len(second.ids)]

    assert list(converse(batcher(1), map(again, (3, 5)))) == [[4, 3], [2, 1]]


def test_a_story_may_end_without_asking() -> None:
    def blank() -> Story[tuple[int, ...]]:
        return ()
        yield  # what makes it a story

    told = converse(batcher(), [blank(), count_up(5), blank()])
    assert next(told) == ()  # before another is started
    assert list(told) == [(), (6, 7)]


def test_refusals_are_raised_where_they_were_asked_for() -> None:
    def long_then_short() -> Story[str]:
        try:
            yield Request(text(*[1] * 64), UP_TO_7)
        except InputError as error:
            answer = yield Request(text(6), UP_TO_7)
            return f"{error.args[0][:19]} {answer.ids}"
        return "never"

    assert list(converse(batcher(1), [long_then_short()])) == ["prompt of 64 tokens (7,)"]


def test_what_a_story_raises_ends_the_telling_and_closes_the_others() -> None:
    closed: list[bool] = []

    def other() -> Story[None]:
        try:
            yield Request(text(0), UP_TO_7)
        finally:
            closed.append(True)

    def broken() -> Story[None]:
        yield Request(text(6), UP_TO_7)
        raise RuntimeError("mine")

    model = batcher()
    with pytest.raises(RuntimeError, match="mine"):
        list(converse(model, [other(), broken()]))
    assert closed == [True]
    assert model.running == 0


def test_none_means_none_just_now() -> None:
    model = batcher()
    seen: list[int] = []

    def arriving() -> Iterator[Story[tuple[int, ...]] | None]:
        yield count_up(3)
        for _ in range(3):
            seen.append(model.running)
            yield None
        yield count_up(5)

    assert list(converse(model, arriving())) == [(4, 5, 6, 7), (6, 7)]
    assert seen == [0, 1, 1]
