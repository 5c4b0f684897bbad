"""Whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from folioscope.export.files import JPEG_SIDE, File, jpeg, text_file, write
from folioscope.types import OutputError


def broken(error: BaseException) -> File:
    def content() -> bytes:
        raise error

    return File("sub/c.txt", content)


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, "No space left on device"), OutputError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_an_error_leaves_everything_as_it_was(tmp_path: Path, error: BaseException, raised: type) -> None:
    (tmp_path / "a.txt").write_text("old")
    before = everything(tmp_path)
    files = [text_file("a.txt", "new"), text_file("new/deep/b.txt", "new"), broken(error)]
    with pytest.raises(raised):
        write(tmp_path, files, force=True)
    assert everything(tmp_path) == before
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_message_says_why(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path, [broken(OSError(28, "No space left on device"))])


def test_what_is_there_is_seen_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "b.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match=r"b\.txt.*--force"):
        write(tmp_path, [broken(AssertionError("made")), text_file("b.txt", "")])


def test_files_are_those_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    (written,) = write(tmp_path, [text_file("sub/a.txt", "ä\n\udcff")])
    assert written.read_bytes() == "ä\n?".encode()
    assert written.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_picture_longer_than_a_jpeg_is_scaled_down() -> None:
    long = Image.new("RGB", (20, JPEG_SIDE + 5000))
    assert Image.open(BytesIO(jpeg(long))).size == (19, JPEG_SIDE)
    assert long.size == (20, JPEG_SIDE + 5000)
