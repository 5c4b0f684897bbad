"""The words every part of Folioscope shares: pages in, documents out, and the errors between.

Nothing here imports torch, numpy or Pillow: `import folioscope` stays instant.
"""

from folioscope.types.document import (
    Attempt,
    Box,
    Document,
    Doubt,
    Line,
    Page,
    PageResult,
    Region,
    Status,
    Step,
    StreamEvent,
    Usage,
    hull,
)
from folioscope.types.errors import CheckpointError, FolioscopeError, InputError, OutputError
from folioscope.types.options import ExportOptions, Generated, GenerateOptions, TrustOptions

__all__ = [
    "Attempt",
    "Box",
    "CheckpointError",
    "Document",
    "Doubt",
    "ExportOptions",
    "FolioscopeError",
    "GenerateOptions",
    "Generated",
    "InputError",
    "Line",
    "OutputError",
    "Page",
    "PageResult",
    "Region",
    "Status",
    "Step",
    "StreamEvent",
    "TrustOptions",
    "Usage",
    "hull",
]
