"""The shared folder: whole files or none, and one winner; on a disk and through fsspec."""

from __future__ import annotations

import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from folioscope.batch import place as places
from folioscope.batch.place import LocalFolder, Place, RemoteFolder, place_of
from folioscope.types import InputError, OutputError


@pytest.fixture(params=["disk", "disk without links", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return place_of(f"memory://{secrets.token_hex(4)}/run")
    if request.param == "disk without links":

        def refuse(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(places.os, "link", refuse)
    return place_of(tmp_path / "run")


def test_files_are_found_as_they_were_written(place: Place) -> None:
    assert place.read("a/b.json") is None
    assert place.names("a") == set()
    place.replace("a/b.json", b"1")
    place.replace("a/b.json", b"2")
    assert place.create("a/c", b"3")
    assert (place.read("a/b.json"), place.read("a/c"), place.names("a")) == (b"2", b"3", {"b.json", "c"})
    assert place.names() == {"a"}


def test_what_is_there_is_not_created_again(place: Place) -> None:
    assert place.create("a", b"1")
    assert not place.create("a", b"2")
    assert place.read("a") == b"1"


def test_things_are_removed(place: Place) -> None:
    place.replace("a/b/c", b"1")
    place.replace("d", b"1")
    for name in ("a", "d", "not there"):
        place.remove(name)
    assert place.names() == set()


def test_one_of_many_creates(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        for round_ in range(20):
            won = list(pool.map(lambda me: place.create(f"{round_}", b"%d" % me), range(8)))  # noqa: B023
            assert won.count(True) == 1
            assert place.read(f"{round_}") == b"%d" % won.index(True)
    assert os.listdir(tmp_path / places.SCRATCH) == []


def test_urls_of_files_are_paths(tmp_path: Path) -> None:
    place = place_of(f"file://{tmp_path}")
    assert isinstance(place, LocalFolder)
    assert place.root == tmp_path


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"file: cannot be written .*choose another folder"):
        place_of(tmp_path / "file").create("a", b"")


def test_unknown_file_systems_are_refused() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(InputError, match="nosuch://x"):
        RemoteFolder("nosuch://x")
