"""Published checkpoints and our modules: names as data, strict both ways, no second copy of the weights."""

from __future__ import annotations

from folioscope.weights.adapter import merge_adapter
from folioscope.weights.fitting import DTYPES, UNUSED, Names
from folioscope.weights.ocr import OCR_NAMES, load_ocr, save_ocr, to_ours, to_published
from folioscope.weights.sam import HF_NAMES, META_NAMES, load_sam, save_sam

__all__ = [
    "DTYPES",
    "HF_NAMES",
    "META_NAMES",
    "OCR_NAMES",
    "UNUSED",
    "Names",
    "load_ocr",
    "load_sam",
    "merge_adapter",
    "save_ocr",
    "save_sam",
    "to_ours",
    "to_published",
]
