"""Embedded images by id, for as long as there is room and somebody asks for them."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from folioscope.serve.errors import Refused
from folioscope.serve.metrics import Metrics
from folioscope.types import FolioscopeError

if TYPE_CHECKING:
    from folioscope.segment import Scene


NAME = re.compile(r"[A-Za-z0-9_-]{22}")
"""Of a scene: nothing else that a client sends becomes part of a file's name."""


class Scenes:
    """Least recently used first. Belongs to the event loop.

    With a `folder`, other processes find them too, in files that are as old as the last look at them.
    """

    def __init__(self, metrics: Metrics, *, most_bytes: int, seconds: float, folder: Path | None = None) -> None:
        self.most_bytes, self.seconds, self.folder = most_bytes, seconds, folder
        self._scenes: OrderedDict[str, tuple[Scene, float]] = OrderedDict()
        metrics.gauge("folioscope_scene_bytes", "Memory of embedded images.", self.bytes)

    def bytes(self) -> int:
        return sum(_size(scene) for scene, _ in list(self._scenes.values()))

    def keep(self, scene: Scene) -> str:
        """The id under which it is found from now on; others may have to go for it."""
        name = secrets.token_urlsafe(16)
        self._scenes[name] = scene, time.monotonic()
        self._forget()
        if self.folder:
            scene.save(self._file(self.folder, name))
            self._forget_files(self.folder)
        return name

    def find(self, name: str) -> Scene:
        """Raises Refused, 404, for one that is not kept, or no longer."""
        self._forget()
        if self.folder and NAME.fullmatch(name):
            self._look(self._file(self.folder, name), name)
        if name not in self._scenes:
            raise Refused(
                404, "scene: is not kept here, or no longer; embed the image again", "no_scene", param="scene"
            )
        scene, _ = self._scenes.pop(name)
        self._scenes[name] = scene, time.monotonic()
        return scene

    @staticmethod
    def _file(folder: Path, name: str) -> Path:
        return folder / f"{name}.safetensors"

    def _look(self, file: Path, name: str) -> None:
        """Into what another process may have kept."""
        from folioscope.segment import Scene

        with suppress(OSError, FolioscopeError):
            os.utime(file)
            if name not in self._scenes:
                self._scenes[name] = Scene.load(file), time.monotonic()

    def _forget_files(self, folder: Path) -> None:
        """Those too old; and the oldest, where all of them have no room."""
        room, old = self.most_bytes, time.time() - self.seconds
        for file in sorted(folder.glob("*.safetensors"), key=_age):
            with suppress(OSError):
                size = file.stat().st_size
                room -= size
                if room < 0 or file.stat().st_mtime < old:
                    file.unlink()

    def _forget(self) -> None:
        old = time.monotonic() - self.seconds
        while self._scenes:
            name, (_, used) = next(iter(self._scenes.items()))
            crowded = len(self._scenes) > 1 and self.bytes() > self.most_bytes
            if used >= old and not crowded:
                return
            del self._scenes[name]


def _age(file: Path) -> float:
    try:
        return time.time() - file.stat().st_mtime
    except OSError:  # another process was quicker
        return float("inf")


def _size(scene: Scene) -> int:
    return scene.embedding.numel() * scene.embedding.element_size()
