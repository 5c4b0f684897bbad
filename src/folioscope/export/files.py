"""Files written whole or not at all: made under a temporary name beside their place, then renamed."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from folioscope.types import OutputError

JPEG_SIDE = 65_500
"""The JPEG library's limit in pixels."""

JPEG_QUALITY = 75
"""What Pillow, and so the published code, takes when nothing is said."""


_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class File:
    """A file to write: its path below the folder, and what makes its bytes when their turn comes."""

    name: str
    content: Callable[[], bytes]


def text_file(name: str, text: str) -> File:
    """UTF-8 with \\n line ends. What UTF-8 cannot hold (an undecodable file name, say) becomes a question mark."""
    return File(name, lambda: text.encode("utf-8", "replace"))


def xml_text(text: str) -> str:
    """The text without what XML and HTML cannot hold: control characters and halves of surrogate pairs."""
    return _NOT_XML.sub("\ufffd", text)


def jpeg(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """The picture as JPEG, scaled down if it is longer than a JPEG can be."""
    if max(image.size) > JPEG_SIDE:
        image = image.copy()
        image.thumbnail((JPEG_SIDE, JPEG_SIDE))
    stream = BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def write(folder: Path, files: Iterable[File], *, force: bool = False) -> list[Path]:
    """Write all files or none, making folders as needed; returns their paths in order.

    Raises:
        OutputError: A file is there already and `force` is False (seen before anything is written), or the place
            cannot be written; then everything is as it was.
    """
    targets = {folder / file.name: file for file in files}
    if not force:
        for target in targets:
            if os.path.lexists(target):
                raise OutputError(f"{target}: is there already; --force overwrites it")
    made: list[Path] = []
    staged = {target.with_name(f".{secrets.token_hex(4)}.partial"): target for target in targets}
    try:
        for partial, target in staged.items():
            _make_folder(target.parent, made)
            partial.write_bytes(targets[target].content())
        for partial, target in staged.items():
            os.replace(partial, target)
    except BaseException as error:
        _clean_up(list(staged), made)
        if isinstance(error, OSError):
            raise OutputError(
                f"{folder}: cannot be written ({error.strerror or error}); choose another folder"
            ) from error
        raise
    return list(targets)


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Make `folder` and what it stands in; note in `made` what was not there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    made += reversed(missing)


def _clean_up(partials: Sequence[Path], folders: Sequence[Path]) -> None:
    for partial in partials:
        with suppress(OSError):
            partial.unlink()
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()
