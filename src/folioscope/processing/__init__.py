"""Pictures and prompts → the tensors a published model is called with, under the names its users know."""

from __future__ import annotations

from folioscope.processing.auto import AutoImageProcessor, AutoProcessor
from folioscope.processing.deepseek import DeepseekOCRProcessor
from folioscope.processing.features import BatchFeature
from folioscope.processing.sam import SamProcessor
from folioscope.processing.sam_image import SamImageProcessor

__all__ = [
    "AutoImageProcessor",
    "AutoProcessor",
    "BatchFeature",
    "DeepseekOCRProcessor",
    "SamImageProcessor",
    "SamProcessor",
]
