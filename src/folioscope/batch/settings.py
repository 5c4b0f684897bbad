"""What a run is told: what decides its results, and what is a machine's own affair."""

from __future__ import annotations

from dataclasses import dataclass, field

from folioscope.types import ExportOptions, InputError, TrustOptions


@dataclass(frozen=True)
class Settings:
    """What decides the results; all workers of a run have the same.

    Attributes:
        prompt: markdown, ocr, free, figure, describe, locate:WORDS, or a text with one "<image>".
        mode: tiny, small, base, large or gundam; without, what suits the checkpoint and the page.
        dpi: Resolution PDFs are rendered in; without, 144.
        formats: Files for each document beside the results, by commas.
        model: A checkpoint's folder or hub id; without, the embedded.
        revision: Branch, tag or commit of a model on the hub.
        dtype: auto, float32, bfloat16, float16; int8 or int4 on a CPU.
        max_new_tokens: At most this many for a page; without, up to the model's last position.
        temperature: 0 is greedy; above 0 samples.
        seed: Makes sampling repeatable.
        batch_size: Pages decoded at a time by each worker; a finished page's place goes to the next.
        trust: When a page is read again, and how often.
        export: How Markdown, text and HTML are written.
        max_page_error_rate: A document with a larger share of failed pages, 0..1, is failed; the run goes on.
    """

    prompt: str = "markdown"
    mode: str | None = None
    dpi: float | None = None
    formats: tuple[str, ...] = ("md",)
    model: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    max_new_tokens: int | None = None
    temperature: float = 0.0
    seed: int | None = None
    batch_size: int = 8
    max_page_error_rate: float = 0.004
    trust: TrustOptions = field(default_factory=TrustOptions)
    export: ExportOptions = field(default_factory=ExportOptions)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size={self.batch_size}: must be 1 or more")
        if not 0 <= self.max_page_error_rate <= 1:
            raise InputError(f"max_page_error_rate={self.max_page_error_rate}: must be between 0 and 1")


@dataclass(frozen=True)
class Here:
    """What is this machine's own affair and not the run's.

    Attributes:
        out: The run's folder: a path, or a URL such as s3://bucket/run.
        device: auto, cuda, cuda:1, mps, cpu; auto gives each worker a GPU of its own while there are some.
        password: Opens encrypted PDFs; it is never written down.
        lease: Seconds without a sign of life after which a worker counts as dead; the same for all of a run.
        threads: CPU threads for each worker; without, the cores are shared out.
        index: The worker's number on this machine.
    """

    out: str
    device: str = "auto"
    password: str | None = None
    lease: float = 120.0
    threads: int | None = None
    index: int = 0
