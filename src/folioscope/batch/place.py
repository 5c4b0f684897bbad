"""The folder that workers share: on a local or mounted disk, or anywhere that fsspec reaches.

Two promises carry a run. A file is there whole or not at all. `create` succeeds for one of many who try at once: on
disks by a hard link, in object stores by a conditional write, where fsspec's file system has one (s3fs, gcsfs); where
none is to be had two may succeed, which costs a run double work and nothing else.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from folioscope.types import InputError, OutputError

SCRATCH = ".tmp"
"""Where files are made before they are moved to their names; what workers that were killed leave is here."""


class Place(Protocol):
    """Files by names with "/" between folders."""

    def read(self, name: str) -> bytes | None:
        """The content, or None if there is no such file."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a new file; False if there is one."""
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Write a file, new or not."""
        ...

    def names(self, folder: str = "") -> set[str]:
        """Names of the files and folders in a folder, hidden ones left out; empty if there is none."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with what it holds, if it is there."""
        ...


def place_of(out: str | os.PathLike[str]) -> Place:
    """The folder of a path, or of a URL such as s3://bucket/run (needs `pip install folioscope[cloud]`)."""
    text = os.fspath(out)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    return RemoteFolder(text) if "://" in text else LocalFolder(Path(text))


class LocalFolder:
    """A folder on a disk. Raises OutputError for what the disk refuses."""

    def __init__(self, root: Path):
        self.root = root

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, name: str, content: bytes) -> bool:
        scratch = self._written(name, content)
        try:
            os.link(scratch, self.root / name)
        except FileExistsError:
            return False
        except OSError:  # a disk without hard links
            if (self.root / name).exists():
                return False
            os.replace(scratch, self.root / name)
        finally:
            scratch.unlink(missing_ok=True)
        return True

    def replace(self, name: str, content: bytes) -> None:
        os.replace(self._written(name, content), self.root / name)

    def names(self, folder: str = "") -> set[str]:
        try:
            return {name for name in os.listdir(self.root / folder) if not name.startswith(".")}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def remove(self, name: str) -> None:
        path = self.root / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def _written(self, name: str, content: bytes) -> Path:
        """The content in a file of the same disk, safe from a crash of the machine, and the folder it will go to."""
        scratch = self.root / SCRATCH / secrets.token_hex(8)
        try:
            for folder in (scratch.parent, (self.root / name).parent):
                folder.mkdir(parents=True, exist_ok=True)
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise OutputError(
                f"{self.root}: cannot be written ({error.strerror or error}); choose another folder"
            ) from error
        return scratch


class RemoteFolder:
    """A folder of a file system that fsspec knows."""

    def __init__(self, url: str):
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise InputError(f"{url}: needs fsspec: pip install folioscope[cloud]") from error
        try:
            fs, root = url_to_fs(url, skip_instance_cache=False)
        except (ImportError, ValueError) as error:
            raise InputError(f"{url}: {error}") from error
        self.fs: Any = fs
        self.root = root.rstrip("/")
        self._made: set[str] = set()

    def read(self, name: str) -> bytes | None:
        try:
            return self.fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None

    def create(self, name: str, content: bytes) -> bool:
        try:
            self.fs.pipe_file(self._writable(name), content, mode="create")
        except FileExistsError:
            return False
        return True

    def replace(self, name: str, content: bytes) -> None:
        self.fs.pipe_file(self._writable(name), content)

    def names(self, folder: str = "") -> set[str]:
        path = self._path(folder)
        self.fs.invalidate_cache(path)  # others write here
        try:
            found = {entry.rstrip("/").rsplit("/", 1)[-1] for entry in self.fs.ls(path, detail=False)}
        except (FileNotFoundError, NotADirectoryError):
            return set()
        return {name for name in found if name and not name.startswith(".")}

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.fs.rm(self._path(name), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}".rstrip("/")

    def _writable(self, name: str) -> str:
        path = self._path(name)
        parent = path.rsplit("/", 1)[0]
        if parent not in self._made:
            self.fs.makedirs(parent, exist_ok=True)
            self._made.add(parent)
        return path
