"""Embedded images by id, for as long as there is room and somebody asks for them."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from folioscope.serve.errors import Refused
from folioscope.serve.metrics import Metrics

if TYPE_CHECKING:
    from folioscope.segment import Scene


class Scenes:
    """Least recently used first. Belongs to the event loop."""

    def __init__(self, metrics: Metrics, *, most_bytes: int, seconds: float) -> None:
        self.most_bytes, self.seconds = most_bytes, seconds
        self._scenes: OrderedDict[str, tuple[Scene, float]] = OrderedDict()
        metrics.gauge("folioscope_scene_bytes", "Memory of embedded images.", self.bytes)

    def bytes(self) -> int:
        return sum(_size(scene) for scene, _ in list(self._scenes.values()))

    def keep(self, scene: Scene) -> str:
        """The id under which it is found from now on; others may have to go for it."""
        name = secrets.token_urlsafe(16)
        self._scenes[name] = scene, time.monotonic()
        self._forget()
        return name

    def find(self, name: str) -> Scene:
        """Raises Refused, 404, for one that is not kept, or no longer."""
        self._forget()
        if name not in self._scenes:
            raise Refused(
                404, "scene: is not kept here, or no longer; embed the image again", "no_scene", param="scene"
            )
        scene, _ = self._scenes.pop(name)
        self._scenes[name] = scene, time.monotonic()
        return scene

    def _forget(self) -> None:
        old = time.monotonic() - self.seconds
        while self._scenes:
            name, (_, used) = next(iter(self._scenes.items()))
            crowded = len(self._scenes) > 1 and self.bytes() > self.most_bytes
            if used >= old and not crowded:
                return
            del self._scenes[name]


def _size(scene: Scene) -> int:
    return scene.embedding.numel() * scene.embedding.element_size()
