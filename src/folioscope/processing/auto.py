"""The names under which users look for the processor of whatever checkpoint they have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from folioscope.processing.conventions import (
    PREPROCESSOR_CONFIG,
    PROCESSOR_CONFIG,
    checkpoint_folder,
)
from folioscope.processing.deepseek import DeepseekOCRProcessor
from folioscope.processing.sam import SamProcessor
from folioscope.processing.sam_image import TYPES, SamImageProcessor
from folioscope.storage import read_json
from folioscope.types import CheckpointError

PROCESSORS: Mapping[str, type[SamProcessor] | type[DeepseekOCRProcessor]] = {
    "SamProcessor": SamProcessor,
    "DeepseekVLV2Processor": DeepseekOCRProcessor,
}
"""By the `processor_class` that a checkpoint's file names."""

MODELS = {"sam": "SamProcessor"}
"""By the `model_type` of a `config.json` beside which no file names a processor; every other one is a page reader's."""


class AutoProcessor:
    """A checkpoint's processor."""

    @staticmethod
    def from_pretrained(path_or_id: str | Path | None = None, **options: Any) -> SamProcessor | DeepseekOCRProcessor:
        """Load the processor that a checkpoint's files name; a hub id downloads no weights.

        Args:
            path_or_id: A folder, a hub id, or None for the embedded reader.
            options: Arguments of `folioscope.hub.resolve`; the rest goes to SAM's image processor as settings.

        Raises:
            CheckpointError: There is no checkpoint, or its processor is neither DeepSeek-OCR's nor Segment Anything's.
        """
        rest = dict(options)
        folder = checkpoint_folder(path_or_id, rest)
        name = _processor_class(folder)
        if name not in PROCESSORS:
            raise CheckpointError(f"{folder}: its processor is {name!r}; this package has {' and '.join(PROCESSORS)}")
        if PROCESSORS[name] is SamProcessor:
            return SamProcessor.from_pretrained(folder, **rest)
        return DeepseekOCRProcessor.from_pretrained(folder)


class AutoImageProcessor:
    """A checkpoint's image processor."""

    @staticmethod
    def from_pretrained(path_or_id: str | Path, **options: Any) -> SamImageProcessor:
        """Load the image processor that a checkpoint's file names; see `SamImageProcessor.from_pretrained`.

        Raises CheckpointError when there is none, or another model's: that of DeepSeek-OCR is not a part of its own.
        """
        return SamImageProcessor.from_pretrained(path_or_id, **options)


def _processor_class(folder: Path) -> str:
    """What the files name; the older of transformers name it in the image processor's."""
    for file in (PROCESSOR_CONFIG, PREPROCESSOR_CONFIG):
        found = read_json(folder / file) if (folder / file).is_file() else {}
        if name := found.get("processor_class"):
            return str(name)
        if (kind := found.get("image_processor_type")) is not None:
            return "SamProcessor" if kind in TYPES else str(kind)
    model = str(read_json(folder / "config.json").get("model_type"))
    return MODELS.get(model, "DeepseekVLV2Processor")
