"""Stories: generators that ask for continuations, one after the other, and go on with the answers.

What reads a page, and reads it again if the first answer is no good, is written down from top to bottom, and many of
them are told at once.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Generic, TypeAlias, TypeVar

from folioscope.generate.batcher import Batcher
from folioscope.generate.sequence import Answer, Request
from folioscope.types import Generated, InputError

T = TypeVar("T")

Story: TypeAlias = "Generator[Request, Generated, T]"
"""`answer = yield Request(…)`, any number of times, then `return result`. What is wrong with a request is raised at its
`yield`: InputError if the prompt does not fit, CheckpointError if the model computes NaN."""


def converse(batcher: Batcher, stories: Iterable[Story[T] | None]) -> Iterator[T]:
    """Tell up to `batcher.slots` stories at a time; yield what each returns, as they end.

    A story that asks again keeps its place. Which stories share a step depends on nothing but the stories, so the same
    ones give the same results to the bit.

    Args:
        batcher: Idle, and not used by others meanwhile.
        stories: The next is taken when there is a place for it. None stands for "none just now": what runs goes on, and
            the iterable is asked again after a step. If nothing runs it is asked at once, so it should wait then.

    Raises:
        What a story raises; the others are closed.
    """
    table = _Table(batcher, iter(stories))
    try:
        while table.open or table.asking or table.running:
            for _ in table.seat():
                yield from table.results()
            table.step()
            yield from table.results()
    finally:
        table.close()


class _Table(Generic[T]):
    """The stories that are being told, and what they wait for."""

    def __init__(self, batcher: Batcher, coming: Iterator[Story[T] | None]):
        self.batcher, self.coming, self.open = batcher, coming, True
        self.asking: dict[Request, Story[T]] = {}  # to be admitted
        self.running: dict[Request, Story[T]] = {}
        self.ended: list[T] = []

    def seat(self) -> Iterator[None]:
        """Start stories while there are places, then admit what all of them ask; pauses whenever one may have ended."""
        while self.open and len(self.asking) < self.batcher.free:
            try:
                story = next(self.coming)
            except StopIteration:
                self.open = False
                break
            if story is None:
                break
            self._tell(story, None)
            yield
        requests, self.asking = self.asking, {}
        self.running |= requests
        for request, refusal in self.batcher.admit(list(requests)):
            self._tell(self.running.pop(request), refusal)
            yield

    def step(self) -> None:
        for request, answer in self.batcher.step():
            self._tell(self.running.pop(request), answer)

    def _tell(self, story: Story[T], answer: Answer | InputError | None) -> None:
        """Go on with a story, None being its start, until it asks or ends."""
        try:
            if answer is None:
                request = next(story)
            else:
                request = story.throw(answer) if isinstance(answer, Exception) else story.send(answer)
        except StopIteration as end:
            self.ended.append(end.value)
        else:
            self.asking[request] = story

    def results(self) -> Iterator[T]:
        while self.ended:
            yield self.ended.pop(0)

    def close(self) -> None:
        for story in (*self.asking.values(), *self.running.values()):
            story.close()
        self.batcher.drain()
