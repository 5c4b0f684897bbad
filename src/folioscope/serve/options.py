"""What the server allows, and where it keeps things. Imports nothing heavy: the command shows it in its help."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from folioscope.types import InputError


def data_folder() -> Path:
    """Where this user's programs keep their data, and Folioscope in it."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "folioscope"


@dataclass(frozen=True)
class ServeOptions:
    """Every bound on what comes from outside, with what `folioscope serve` takes when nothing is said.

    Attributes:
        api_key: Clients must send it, as "Authorization: Bearer KEY"; without, anybody may ask who can connect.
        max_megabytes: A request's body may have, a picture's address may give, so many million bytes.
        max_pixels: Larger pictures are refused before they are decoded; PDF pages are rendered to fit.
        max_pages: Pages one request may read.
        max_job_pages: Pages one job may read.
        max_tokens: Tokens a page's answer may have.
        max_seconds: Seconds a request may be worked on; a job may take as long as it likes.
        upload_seconds: Seconds a request's body may take to arrive.
        queue: Requests that may wait for a model; the next is told to come again (429).
        slots: Pages decoded together.
        workers: Processes, each with models of its own; a request goes to any of them.
        scene_megabytes: Memory for embedded images; the one used least recently goes first.
        scene_minutes: An embedded image is forgotten when it was not used for so long.
        allow_url: Hosts that pictures may be fetched from, never at private addresses; none is none.
        cors: Origins whose pages may ask from a browser, such as https://example.org; none is none.
        allow_host: Names the server may be called by, besides its own.
        data: Folder where jobs are kept.
        jobs: Jobs that may wait.
        job_days: Days that a finished job is kept.
        browser_decoder: Folder of mask_decoder.onnx and onnxruntime-web, for clicks in the visitor's own browser.
        grace_seconds: Seconds that what runs may take to finish when the server is told to stop.
    """

    api_key: str | None = field(default=None, repr=False)
    max_megabytes: float = 64
    max_pixels: int = 60_000_000
    max_pages: int = 100
    max_job_pages: int = 2000
    max_tokens: int = 8192
    max_seconds: float = 600
    upload_seconds: float = 60
    queue: int = 64
    slots: int = 8
    workers: int = 1
    scene_megabytes: float = 512
    scene_minutes: float = 30
    allow_url: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    allow_host: tuple[str, ...] = ()
    data: Path = field(default_factory=data_folder)
    jobs: int = 100
    job_days: float = 7
    browser_decoder: Path | None = None
    grace_seconds: float = 30

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not value > 0:
                raise InputError(f"{name}={value}: must be more than 0")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.strip() == self.api_key != ""):
            raise InputError("api_key: must be letters, digits and signs of ASCII, without blanks around")

    @property
    def max_bytes(self) -> int:
        return int(self.max_megabytes * 1e6)
