"""The rival reads a page that we draw; skipped where it is not installed."""

from __future__ import annotations

import pytest

from folioscope.train.layout import PageStyle
from folioscope.train.render import render_page
from folioscope.train.tesseract import installed, read_with_tesseract
from folioscope.types import InputError


@pytest.mark.skipif(not installed(), reason="tesseract is not installed")
def test_it_reads_a_clean_page() -> None:
    page = render_page(PageStyle(lines=(3, 3), type_px=(26, 30), degrade=0, layout=0, random_share=0), 1)
    words = set(page.plain.split())
    assert len(words & set(read_with_tesseract(page.image).split())) > len(words) / 2


def test_where_it_is_missing_the_error_says_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    page = render_page(PageStyle(lines=(1, 1)), 1)
    with pytest.raises(InputError, match="install it"):
        read_with_tesseract(page.image)
