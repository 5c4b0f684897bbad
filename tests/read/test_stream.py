"""Text as it is decoded: the same words as read at once, from a thread that ends when it should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from folioscope.read import Reader
from folioscope.read.stream import AHEAD, pull
from folioscope.types import GenerateOptions, InputError
from scripted import raw, scripted_checkpoint, sheet, sheets

TWO_PAGES = sheets(2)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader.from_pretrained(scripted_checkpoint(tmp_path_factory.mktemp("reader")))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("batch_size", [1, 2])
def test_pieces_join_to_the_whole(reader: Reader, batch_size: int) -> None:
    events = list(reader.stream(TWO_PAGES, batch_size=batch_size))
    results = [event.result for event in events if event.result]
    assert [result.number for result in results] == [1, 2]
    for result, whole in zip(results, reader.read(TWO_PAGES), strict=True):
        mine = [event for event in events if event.page == result.number]
        assert "".join(event.text for event in mine) == result.raw == raw()
        assert [event.result for event in mine] == [None] * (len(mine) - 1) + [result]
        assert len(mine) == 6  # a token each
        assert replace(result, usage=whole.usage) == whole


def test_characters_are_never_cut(shared: Callable[..., Path]) -> None:
    toy = shared("golden", "deepseek_toy")
    options = GenerateOptions(max_new_tokens=40, no_repeat_ngram_size=3, stop_ids=())
    *pieces, last = Reader.from_pretrained(toy).stream(toy / "images" / "small.png", mode="tiny", options=options)
    assert last.result
    assert "".join(event.text for event in pieces) == last.result.raw
    assert "\ufffd" in last.result.raw  # random weights do cut characters


def test_a_page_that_cannot_be_had_has_a_result(reader: Reader) -> None:
    *_, last = reader.stream(sheets(1, lost=1))
    assert last.result
    assert (last.page, last.result.status) == (2, "failed")


def test_errors_arrive(reader: Reader) -> None:
    events = reader.stream(b"%PDF-1.7 broken")
    with pytest.raises(InputError, match="the PDF is broken"):
        next(events)


def test_wrong_arguments_are_refused_at_once(reader: Reader) -> None:
    with pytest.raises(InputError, match="no such mode"):
        reader.stream(TWO_PAGES, mode="huge")


def test_closing_ends_the_work(reader: Reader) -> None:
    options = replace(reader.options, stop_ids=(), no_repeat_ngram_size=0)
    events = reader.stream(sheet((9, 9)), options=options)
    assert next(events).text
    events.close()  # the fixture sees that the thread is gone


def test_cancelled_from_outside(reader: Reader) -> None:
    stop = threading.Event()
    events = []
    options = replace(reader.options, stop_ids=(), no_repeat_ngram_size=0)  # no page ends before it is cancelled
    for event in reader.stream(TWO_PAGES, cancelled=stop.is_set, options=options):
        events.append(event)
        stop.set()
    assert events[-1].result
    assert events[-1].page == 1


def test_a_stream_that_nobody_reads_does_no_work(reader: Reader) -> None:
    events = reader.stream(TWO_PAGES)
    assert "folioscope-stream" not in [thread.name for thread in threading.enumerate()]
    events.close()


def test_work_waits_for_a_slow_reader() -> None:
    done = []

    def push(emit: Callable[[int], None], closed: Callable[[], bool]) -> None:
        for number in range(10 * AHEAD):
            emit(number)
            done.append(number)
            if closed():
                return

    items = pull(push)
    assert next(items) == 0
    time.sleep(0.1)
    assert len(done) <= AHEAD + 1
    items.close()
    assert len(done) <= AHEAD + 3


def test_pull_raises_after_what_came_before() -> None:
    def push(emit: Callable[[int], None], _closed: Callable[[], bool]) -> None:
        emit(1)
        raise KeyError("afterwards")

    items = pull(push)
    assert next(items) == 1
    with pytest.raises(KeyError, match="afterwards"):
        next(items)
