"""The verb read: pages in, a document out, whole or as it is decoded."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from folioscope import hub
from folioscope.config import MODES, Mode
from folioscope.generate import Batcher, Prompt, Request, Story, converse
from folioscope.model.ocr import DeepseekOcr
from folioscope.pages import Opened, Source, UnreadablePage, open_pages
from folioscope.placement import best_dtype, choose_device
from folioscope.quantize import choose_precision, load_reader
from folioscope.read.result import Draft, failed_page, page_result
from folioscope.read.stream import pull
from folioscope.storage import weight_files
from folioscope.tokens import TextStream, Tokenizer, encode_prompt, prompt_text
from folioscope.types import (
    CheckpointError,
    Document,
    GenerateOptions,
    InputError,
    Page,
    PageResult,
    StreamEvent,
)
from folioscope.views import default_mode, ocr_views

NGRAM_SIZE, NGRAM_WINDOW, NGRAM_EXEMPT = 30, 90, ("<td>", "</td>")
"""The published server's recipe against loops (README of deepseek-ai/DeepSeek-OCR, `NGramPerReqLogitsProcessor`)."""


@dataclass(frozen=True)
class _Task:
    """What is to be read and how, checked."""

    pages: Iterator[Page | UnreadablePage]
    prompt: str
    mode: Mode | None
    options: GenerateOptions
    batch_size: int
    cancelled: Callable[[], bool]
    emit: Callable[[StreamEvent], None] = lambda event: None


class Reader:
    """Reads pages with one checkpoint. Keeps nothing between calls, so that threads may share it.

    Attributes:
        model, tokenizer: The checkpoint.
        source: Its folder or hub id, for messages.
        options: How tokens are chosen where `read` is not told: greedily up to the end-of-sequence token, with no
            30-gram twice within 90 tokens, `<td>` and `</td>` exempt, as the published server does. What the published
            `infer` does, `GenerateOptions()`, allows no 20-gram twice on the whole page, which breaks long regular
            tables. Change single fields with `dataclasses.replace(reader.options, …)`.
    """

    def __init__(self, model: DeepseekOcr, tokenizer: Tokenizer, source: str = "model") -> None:
        rows = model.config.decoder.vocab_size
        if len(tokenizer) > rows:
            raise CheckpointError(
                f"{source}: its tokenizer has {len(tokenizer)} tokens but its model {rows}; use the tokenizer.json, "
                "config.json and weights of one checkpoint"
            )
        self.model, self.tokenizer, self.source = model, tokenizer, source
        exempt = (tokenizer.convert_tokens_to_ids(token) for token in NGRAM_EXEMPT)
        self.options = GenerateOptions(
            no_repeat_ngram_size=NGRAM_SIZE,
            ngram_window=NGRAM_WINDOW,
            ngram_exempt=tuple(token for token in exempt if isinstance(token, int)),
            stop_ids=(tokenizer.eos_id,),
            stop_loops=True,
        )

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Reader:
        """Load a checkpoint: the embedded one, a folder's, or the hub's. See `hub.resolve` for the other arguments.

        Args:
            path_or_id: None, a folder, or a hub id such as "deepseek-ai/DeepSeek-OCR".
            device: "cpu", "cuda", "cuda:1", "mps"; "auto" is the first there is of CUDA, MPS and CPU.
            dtype: "float32", "bfloat16", "float16", or on a CPU "int8" or "int4" (of the decoder's matrices);
                "auto" is as `best_dtype` says, and of a quantised checkpoint what it is.

        Raises:
            InputError: No such device or dtype.
            CheckpointError: The checkpoint is not there, is damaged, or is not DeepSeek-OCR's.
        """
        place, (kind, floats) = choose_device(device), choose_precision(dtype)
        folder = hub.resolve(
            path_or_id, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        tokenizer = Tokenizer.from_directory(folder)
        stored_bytes = sum(file.stat().st_size for file in weight_files(folder))
        floats = floats or best_dtype(place, stored_bytes)
        model, _ = load_reader(folder, device=place, dtype=floats, kind=kind)
        return cls(model, tokenizer, str(path_or_id or folder))

    def read(
        self,
        source: Source | Opened,
        *,
        prompt: str = "markdown",
        mode: str | Mode | None = None,
        pages: str | None = None,
        dpi: float | None = None,
        password: str | None = None,
        options: GenerateOptions | None = None,
        batch_size: int = 1,
        cancelled: Callable[[], bool] | None = None,
    ) -> Document:
        """Read a path, bytes, binary stream, Pillow image or array.

        A page of several that cannot be had is "failed", as is one whose prompt does not fit the model; a page cut by
        the token limit, or by `cancelled`, is "truncated". `Usage.prompt_tokens` include the image's.

        Args:
            source: See `open_pages`, also for `pages`, `dpi` and `password`; or what it gives, opened with these.
            prompt: markdown, ocr, free, figure, describe, `locate:WORDS`, or a text of your own with one `<image>`.
            mode: tiny, small, base, large, gundam, or a `Mode`; None is what suits the checkpoint and the page.
            options: How tokens are chosen, taken as they are; None is `self.options`.
            batch_size: Pages decoded at a time; a finished page's place goes to the next. More is faster, and reads
                the same.
            cancelled: Asked before every token; True ends the reading with what there is.

        Raises:
            InputError: No page can be had, or an argument is wrong.
            CheckpointError: The model computes NaN.
        """
        return self._read(self._task(source, prompt, mode, pages, dpi, password, options, batch_size, cancelled))

    def stream(
        self,
        source: Source | Opened,
        *,
        prompt: str = "markdown",
        mode: str | Mode | None = None,
        pages: str | None = None,
        dpi: float | None = None,
        password: str | None = None,
        options: GenerateOptions | None = None,
        batch_size: int = 1,
        cancelled: Callable[[], bool] | None = None,
    ) -> Generator[StreamEvent, None, None]:
        """Read as `read` does, in a thread of its own, and yield the text as it is decoded.

        The pieces of a page join to its `raw`; its last event brings the result. With a `batch_size` above 1 the
        pieces of several pages alternate. Closing the iterator ends the reading.
        """
        task = self._task(source, prompt, mode, pages, dpi, password, options, batch_size, cancelled)

        def push(emit: Callable[[StreamEvent], None], closed: Callable[[], bool]) -> None:
            self._read(replace(task, emit=emit, cancelled=lambda: closed() or task.cancelled()))

        return pull(push)

    def story(
        self,
        page: Page | UnreadablePage,
        emit: Callable[[StreamEvent], None],
        *,
        prompt: str = "markdown",
        mode: str | Mode | None = None,
        options: GenerateOptions | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Story[PageResult]:
        """What `stream` does with one page, to be told with others by `generate.converse`; `emit` gets its events."""
        opened: Opened = (each for each in (page,))
        return self._page(
            page, replace(self._task(opened, prompt, mode, None, None, None, options, 1, cancelled), emit=emit)
        )

    def _task(
        self,
        source: Source | Opened,
        prompt: str,
        mode: str | Mode | None,
        pages: str | None,
        dpi: float | None,
        password: str | None,
        options: GenerateOptions | None,
        batch_size: int,
        cancelled: Callable[[], bool] | None,
    ) -> _Task:
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: must be 1 or more")
        if not isinstance(source, Generator):
            source = open_pages(source, pages=pages, dpi=dpi, password=password)
        return _Task(
            pages=source,
            prompt=prompt_text(prompt),
            mode=choose_mode(mode),
            options=options or self.options,
            batch_size=batch_size,
            cancelled=cancelled or (lambda: False),
        )

    def _read(self, task: _Task) -> Document:
        results = sorted(converse(Batcher(self.model, task.batch_size), self._stories(task)), key=lambda r: r.number)
        return Document(results[0].source, tuple(results))

    def _stories(self, task: _Task) -> Iterator[Story[PageResult]]:
        for page in task.pages:
            yield self._page(page, task)
            if task.cancelled():
                return

    def _page(self, page: Page | UnreadablePage, task: _Task) -> Story[PageResult]:
        """The story of a page: image tokens → prompt → token ids → text and regions."""
        if isinstance(page, UnreadablePage):
            result = failed_page(page, page.error)
        else:
            start = time.perf_counter()
            draft = self._draft(page, task)
            try:
                answer = yield self._request(draft, task)
            except InputError as error:  # the prompt leaves no room for an answer
                result = failed_page(page, str(error))
            else:
                if rest := draft.text.finish():
                    task.emit(StreamEvent(page.number, rest))
                result = page_result(self.tokenizer, draft, answer, task.prompt, time.perf_counter() - start)
        task.emit(StreamEvent(page.number, result=result))
        return result

    def _request(self, draft: Draft, task: _Task) -> Request:
        def show(token: int, _logprob: float) -> None:
            if token not in task.options.stop_ids and (text := draft.text.push(token)):
                task.emit(StreamEvent(draft.page.number, text))

        return Request(draft.prompt, task.options, on_token=show, cancelled=task.cancelled)

    @torch.inference_mode()
    def _draft(self, page: Page, task: _Task) -> Draft:
        config = self.model.config
        views = ocr_views(page.image, task.mode or default_mode(config, page.image.size))
        for seen in (views.global_view, views.tiles):
            if seen is not None:
                config.tokens_per_side(seen.shape[-1])  # refuses a size that the encoder cannot divide
        features = self.model.image_features(views.global_view, views.tiles, views.grid)  # (slots, hidden)
        encoded = encode_prompt(self.tokenizer, task.prompt, len(features))
        return Draft(page, Prompt(encoded.ids, encoded.image_mask, features), TextStream(self.tokenizer))


def choose_mode(mode: str | Mode | None) -> Mode | None:
    """The mode of a name; modes and None as they are. Raises InputError, listing the names."""
    if not isinstance(mode, str):
        return mode
    if mode not in MODES:
        raise InputError(f"mode {mode!r}: there is no such mode; choose from {', '.join(MODES)}")
    return MODES[mode]
