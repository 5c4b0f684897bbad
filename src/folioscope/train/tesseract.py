"""Tesseract, the reader everybody has, on the very same pages: what a score is worth is seen beside another's.

Needs the program `tesseract` (Debian's tesseract-ocr); nothing of it is part of Folioscope.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess

from PIL import Image

from folioscope.types import InputError

PROGRAM = "tesseract"
_BULLET = re.compile(r"^[•*°»«–—-] ", re.MULTILINE)


def installed() -> str | None:
    """Path of the program, or None."""
    return shutil.which(PROGRAM)


def read_with_tesseract(image: Image.Image) -> str:
    """The page's text as Tesseract reads it with its defaults, English, automatic layout; bullets written as "- "."""
    program = installed()
    if program is None:
        raise InputError("tesseract: not installed; install it (Debian: tesseract-ocr), or leave out --against")
    page = io.BytesIO()
    image.save(page, "PNG")
    run = subprocess.run(
        [program, "-", "-", "-l", "eng"],
        input=page.getvalue(),
        capture_output=True,
        check=True,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
    )
    return _BULLET.sub("- ", run.stdout.decode("utf-8", "replace"))
