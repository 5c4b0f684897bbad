"""The errors Folioscope raises on purpose. Each message is one line for a person."""

from __future__ import annotations


class FolioscopeError(Exception):
    """Base of every error Folioscope raises on purpose. Its message is one line for a person."""


class InputError(FolioscopeError, ValueError):
    """An image, a PDF, a prompt or an option that cannot be used; says what would do."""


class CheckpointError(FolioscopeError, ValueError):
    """A checkpoint, config or tokenizer that cannot be loaded or saved."""


class OutputError(FolioscopeError, OSError):
    """A place that cannot be written, or that would be overwritten."""
