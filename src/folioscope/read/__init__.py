"""The verb read: pages in, a document out, whole or as it is decoded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from folioscope import hub
from folioscope.config import Mode
from folioscope.generate import Batcher, Story, converse
from folioscope.model.ocr import DeepseekOcr
from folioscope.pages import Opened, Source, UnreadablePage, open_pages, page_ranges
from folioscope.placement import best_dtype, choose_device
from folioscope.quantize import choose_precision, load_reader
from folioscope.read.story import Teller
from folioscope.read.stream import pull, pulled
from folioscope.read.task import Task, choose_mode
from folioscope.storage import weight_files
from folioscope.tokens import Tokenizer, prompt_text
from folioscope.types import (
    CheckpointError,
    Document,
    GenerateOptions,
    InputError,
    Page,
    PageResult,
    StreamEvent,
    TrustOptions,
)

NGRAM_SIZE, NGRAM_WINDOW, NGRAM_EXEMPT = 30, 90, ("<td>", "</td>")
"""The published server's recipe against loops (README of deepseek-ai/DeepSeek-OCR, `NGramPerReqLogitsProcessor`)."""

PAGES_AHEAD = 2
"""Pages that are made while the model reads those before."""


class Reader:
    """Reads pages with one checkpoint. Keeps nothing between calls, so that threads may share it.

    Attributes:
        model, tokenizer: The checkpoint.
        source: Its folder or hub id, for messages.
        options: How tokens are chosen where `read` is not told: greedily up to the end-of-sequence token, with no
            30-gram twice within 90 tokens, `<td>` and `</td>` exempt, as the published server does; loops are stopped.
            What the published `infer` does, `GenerateOptions()`, allows no 20-gram twice on the whole page, which
            breaks long regular tables. Change single fields with `dataclasses.replace(reader.options, …)`.
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
        adapter: str | Path | None = None,
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
            adapter: Folder of a LoRA adapter, as peft or `folioscope train reader --lora` writes it, to merge in.

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
        model, _ = load_reader(folder, device=place, dtype=floats, kind=kind, adapter=adapter)
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
        trust: TrustOptions | None = None,
        batch_size: int = 1,
        cancelled: Callable[[], bool] | None = None,
    ) -> Document:
        """Read a path, bytes, binary stream, Pillow image or array.

        Every page asked for has a result, in order, and its status says what became of it: see `Status`. A page whose
        reading cannot be trusted is read again, as `trust` allows; `PageResult.attempts` tells. A page of several that
        cannot be had is "failed", as is one whose prompt does not fit the model; a page cut by the token limit, or by
        `cancelled`, is "truncated". `Usage.prompt_tokens` include the image's.

        Args:
            source: See `open_pages`, also for `pages`, `dpi` and `password`; or what it gives, opened with these.
            prompt: markdown, ocr, free, figure, describe, `locate:WORDS`, or a text of your own with one `<image>`.
            mode: tiny, small, base, large, gundam, or a `Mode`; None is what suits the checkpoint and the page.
            options: How tokens are chosen in a page's first reading, taken as they are; None is `self.options`.
            trust: When a page is read again, how often, and whether boxes are fitted; None is `TrustOptions()`.
            batch_size: Pages decoded at a time; a finished page's place goes to the next. More is faster, and reads
                the same.
            cancelled: Asked before every token; True ends the reading with what there is.

        Raises:
            InputError: No page can be had, or an argument is wrong.
            CheckpointError: The model computes NaN.
        """
        return self._read(self._task(source, prompt, mode, pages, dpi, password, options, trust, batch_size, cancelled))

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
        trust: TrustOptions | None = None,
        batch_size: int = 1,
        cancelled: Callable[[], bool] | None = None,
    ) -> Generator[StreamEvent, None, None]:
        """Read as `read` does, in a thread of its own, and yield the text as it is decoded.

        The pieces of a page, from its last `restart` on, join to its `raw`; its last event brings the result. A restart
        says that the page is read again, or that an earlier reading was better, which then comes once more, in one
        piece. With a `batch_size` above 1 the pieces of several pages alternate. Closing the iterator ends the reading.
        """
        task = self._task(source, prompt, mode, pages, dpi, password, options, trust, batch_size, cancelled)

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
        trust: TrustOptions | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Story[PageResult]:
        """What `stream` does with one page, to be told with others by `generate.converse`; `emit` gets its events."""
        opened: Opened = (each for each in (page,))
        task = self._task(opened, prompt, mode, None, None, None, options, trust, 1, cancelled)
        return Teller(self.model, self.tokenizer).page(page, replace(task, emit=emit))

    def _task(
        self,
        source: Source | Opened,
        prompt: str,
        mode: str | Mode | None,
        pages: str | None,
        dpi: float | None,
        password: str | None,
        options: GenerateOptions | None,
        trust: TrustOptions | None,
        batch_size: int,
        cancelled: Callable[[], bool] | None,
    ) -> Task:
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: must be 1 or more")
        page_ranges(pages)
        if not isinstance(source, Generator):
            source = open_pages(source, pages=pages, dpi=dpi, password=password)
        return Task(
            pages=source,
            prompt=prompt_text(prompt),
            mode=choose_mode(mode),
            options=options or self.options,
            trust=trust or TrustOptions(),
            batch_size=batch_size,
            cancelled=cancelled or (lambda: False),
        )

    def _read(self, task: Task) -> Document:
        with closing(pulled(task.pages, PAGES_AHEAD)) as pages:
            stories = self._stories(pages, task)
            results = sorted(converse(Batcher(self.model, task.batch_size), stories), key=lambda r: r.number)
        return Document(results[0].source, tuple(results))

    def _stories(self, pages: Iterator[Page | UnreadablePage], task: Task) -> Iterator[Story[PageResult]]:
        teller = Teller(self.model, self.tokenizer)
        for page in pages:
            yield teller.page(page, task)
            if task.cancelled():
                return
