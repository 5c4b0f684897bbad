"""Folioscope reads pages and cuts out what you point at.

    reader = folioscope.Reader.from_pretrained()
    print(reader.read("letter.pdf").markdown)

Names load when first used (PEP 562), so that `import folioscope` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from folioscope.hub import AutoTokenizer
    from folioscope.masks import EverythingOptions, Mask, MaskPrompt
    from folioscope.pages import open_pages
    from folioscope.pretrained import DeepseekOCRForCausalLM, SamModel
    from folioscope.processing import (
        AutoImageProcessor,
        AutoProcessor,
        DeepseekOCRProcessor,
        SamImageProcessor,
        SamProcessor,
    )
    from folioscope.read import Reader
    from folioscope.segment import Scene, Segmenter
    from folioscope.types import (
        CheckpointError,
        Document,
        ExportOptions,
        FolioscopeError,
        GenerateOptions,
        InputError,
        OutputError,
        Page,
        PageResult,
        Region,
        StreamEvent,
        TrustOptions,
        Usage,
    )

    __version__: str

__all__ = [
    "AutoImageProcessor",
    "AutoProcessor",
    "AutoTokenizer",
    "CheckpointError",
    "DeepseekOCRForCausalLM",
    "DeepseekOCRProcessor",
    "Document",
    "EverythingOptions",
    "ExportOptions",
    "FolioscopeError",
    "GenerateOptions",
    "InputError",
    "Mask",
    "MaskPrompt",
    "OutputError",
    "Page",
    "PageResult",
    "Reader",
    "Region",
    "SamImageProcessor",
    "SamModel",
    "SamProcessor",
    "Scene",
    "Segmenter",
    "StreamEvent",
    "TrustOptions",
    "Usage",
    "__version__",
    "open_pages",
]

_HOMES = {
    "AutoImageProcessor": "processing",
    "AutoProcessor": "processing",
    "AutoTokenizer": "hub",
    "DeepseekOCRForCausalLM": "pretrained",
    "DeepseekOCRProcessor": "processing",
    "EverythingOptions": "masks",
    "Mask": "masks",
    "MaskPrompt": "masks",
    "Reader": "read",
    "SamImageProcessor": "processing",
    "SamModel": "pretrained",
    "SamProcessor": "processing",
    "Scene": "segment",
    "Segmenter": "segment",
    "open_pages": "pages",
}
"""The module of each public name that is not a type."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = _version() if name == "__version__" else _load(name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return __all__


def _load(name: str) -> Any:
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'types')}"), name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 20 ms that few need

    try:
        return version(__name__)
    except PackageNotFoundError:  # run from the source tree
        return "0+source"
