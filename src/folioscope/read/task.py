"""What is to be read and how, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from folioscope.config import MODES, Mode
from folioscope.pages import UnreadablePage
from folioscope.types import GenerateOptions, InputError, Page, StreamEvent, TrustOptions


@dataclass(frozen=True)
class Task:
    """One call of `Reader.read`.

    Attributes:
        prompt: The text that the model is asked with.
        mode: None is what suits the checkpoint and the page.
        options: How tokens are chosen in the first reading of a page.
    """

    pages: Iterator[Page | UnreadablePage]
    prompt: str
    mode: Mode | None
    options: GenerateOptions
    trust: TrustOptions = field(default_factory=TrustOptions)
    batch_size: int = 1
    cancelled: Callable[[], bool] = lambda: False
    emit: Callable[[StreamEvent], None] = lambda event: None


def choose_mode(mode: str | Mode | None) -> Mode | None:
    """The mode of a name; modes and None as they are. Raises InputError, listing the names."""
    if not isinstance(mode, str):
        return mode
    if mode not in MODES:
        raise InputError(f"mode {mode!r}: there is no such mode; choose from {', '.join(MODES)}")
    return MODES[mode]
