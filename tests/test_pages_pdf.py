"""Pages of PDFs, written by hand here so that they can lie."""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from folioscope.pages import UnreadablePage, open_pages
from folioscope.pages import pdf as pdf_pages
from folioscope.types import InputError, Page
from test_pages import RED, WHITE, only

BLUE = (0, 0, 255)
BLANK = "<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 50]>>"


def numbers(found: Iterable[Page | UnreadablePage]) -> list[int]:
    return [page.number for page in found]


def pdf(*objects: str, kids: str = "3 0 R", count: int = 1, trailer: str = "") -> bytes:
    """A PDF whose page tree claims `kids` and `count`; `objects` are numbered from 3."""
    out, offsets = b"%PDF-1.7\n", []
    tree = f"<</Type/Pages/Kids[{kids}]/Count {count}>>"
    for number, content in enumerate(("<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[]>>>>", tree, *objects), 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"xref\n0 {len(offsets) + 1}\n0000000000 65535 f \n{table}trailer\n<</Root 1 0 R/Size {len(offsets) + 1}"
    return out + f"{end}{trailer}>>\nstartxref\n{len(out)}\n%%EOF\n".encode("latin-1")


def drawn(box: str, content: str, more: str = "") -> tuple[str, str]:
    return f"<</Type/Page/Parent 2 0 R/MediaBox[{box}]/Contents 4 0 R{more}>>", stream(content)


def stream(content: str) -> str:
    return f"<</Length {len(content)}>>stream\n{content}\nendstream"


def many(count: int) -> bytes:
    kids = " ".join(f"{number + 3} 0 R" for number in range(count))
    return pdf(*[BLANK.replace("50]", f"{50 + number}]") for number in range(count)], kids=kids, count=count)


def rc4(key: bytes, data: bytes) -> bytes:
    state, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def encrypted(password: str) -> bytes:
    """The PDF standard's 40-bit handler (revision 2)."""
    padding = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
    padded, identity = (password.encode() + padding)[:32], b"0123456789abcdef"
    owner = rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + struct.pack("<i", -4) + identity).digest()[:5]
    handler = f"<</Filter/Standard/V 1/R 2/P -4/O<{owner.hex()}>/U<{rc4(key, padding).hex()}>>>"
    return pdf(BLANK, handler, trailer=f"/Encrypt 4 0 R/ID[<{identity.hex()}><{identity.hex()}>]")


def test_pdf_pages_come_in_144_dpi_with_their_size_in_points(tmp_path: Path) -> None:
    path = tmp_path / "three.pdf"
    path.write_bytes(many(3))
    found = list(open_pages(path))
    assert [(page.source, page.number) for page in found] == [(str(path), 1), (str(path), 2), (str(path), 3)]
    assert [page.points for page in found if isinstance(page, Page)] == [(100, 50), (100, 51), (100, 52)]
    assert [page.image.size for page in found if isinstance(page, Page)] == [(200, 100), (200, 102), (200, 104)]
    assert only(path, pages="2", dpi=36).image.size == (50, 26)


def test_pdf_colours_rotation_and_crop_are_as_displayed() -> None:
    red_left = "1 0 0 rg 0 0 50 50 re f"
    page = only(pdf(*drawn("0 0 100 50", red_left, "/Rotate 90")))
    assert (page.points, page.image.size) == ((50, 100), (100, 200))
    assert [page.image.getpixel((50, y)) for y in (10, 190)] == [RED, WHITE]  # turned clockwise
    assert only(pdf(*drawn("0 0 100 50", red_left, "/CropBox[40 10 90 40]"))).points == (50, 30)


def test_pdf_annotations_and_form_fields_are_drawn() -> None:
    looks = "<</Type/XObject/Subtype/Form/BBox[0 0 40 40]/Length 24>>stream\n0 0 1 rg 0 0 40 40 re f \nendstream"
    for kind in ("/Square", "/Widget/FT/Tx/T(a)/V(b)"):
        mark = f"<</Type/Annot/Subtype{kind}/F 4/Rect[0 0 40 40]/AP<</N 6 0 R>>>>"
        page = only(pdf(*drawn("0 0 100 50", "", "/Annots[5 0 R]"), mark, looks))
        assert page.image.getpixel((20, 80)) == BLUE


def test_pdf_pages_are_rendered_within_the_pixel_limit() -> None:
    for box in ("0 0 14400 14400", "0 0 14400 0.01", "0 0 200 40"):
        image = only(pdf(f"<</Type/Page/Parent 2 0 R/MediaBox[{box}]>>"), max_pixels=10_000).image
        assert 9_000 < image.width * image.height <= 10_000
    assert only(pdf("<</Type/Page/Parent 2 0 R/MediaBox[0 0 .01 .01]>>")).image.size == (1, 1)


def test_a_lying_page_tree_does_not_cost_the_other_pages() -> None:
    found = list(open_pages(pdf(BLANK, "(no page)", BLANK, kids="3 0 R 4 0 R 9 0 R 5 0 R", count=5), dpi=72))
    assert [type(page) for page in found] == [Page, UnreadablePage, UnreadablePage, Page, UnreadablePage]
    assert found[1] == UnreadablePage("bytes", 2, "bytes: page 2 cannot be drawn (Failed to load page.)")
    with pytest.raises(InputError, match="page 1 cannot be drawn"):
        next(open_pages(pdf("(no page)")))


def test_encrypted_pdfs_need_their_password() -> None:
    locked = encrypted("sésame")
    assert only(locked, password="sésame").points == (100, 50)
    with pytest.raises(InputError, match="bytes: is encrypted; give its password"):
        next(open_pages(locked))
    with pytest.raises(InputError, match="bytes: is encrypted; this is not its password"):
        next(open_pages(locked, password="wrong"))
    assert only(many(1), password="not needed").number == 1


@pytest.mark.parametrize("content", [b"%PDF-1.4\n", many(2)[:60], pdf(kids="", count=0), b"%PDF-1.7 " + bytes(5000)])
def test_broken_and_empty_pdfs_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="bytes: the PDF is broken or has no pages"):
        next(open_pages(content))


@pytest.mark.parametrize("dpi", [0, -1, float("nan"), float("inf")])
def test_dpi_is_a_positive_number(dpi: float) -> None:
    with pytest.raises(InputError, match="must be a positive number, such as 144"):
        next(open_pages(many(1), dpi=dpi))


def test_pages_are_made_one_at_a_time_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"drawn": 0, "closed": 0}
    draw, close = pdf_pages._pdf_page, pdf_pages.PdfDocument.close
    monkeypatch.setattr(pdf_pages, "_pdf_page", lambda *a: (counts.update(drawn=counts["drawn"] + 1), draw(*a))[1])
    monkeypatch.setattr(
        pdf_pages.PdfDocument, "close", lambda it: (counts.update(closed=counts["closed"] + 1), close(it))[1]
    )
    found = open_pages(many(50))
    assert numbers([next(found), next(found)]) == [1, 2]
    assert counts == {"drawn": 2, "closed": 0}
    found.close()  # type: ignore[attr-defined]
    assert counts == {"drawn": 2, "closed": 1}


def test_pdfium_is_entered_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    content, found, inside, most = many(4), [], [], []
    load = pdf_pages.PdfDocument.get_page

    def slow(document: pdf_pages.PdfDocument, index: int) -> Any:
        inside.append(index)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return load(document, index)

    monkeypatch.setattr(pdf_pages.PdfDocument, "get_page", slow)
    threads = [threading.Thread(target=lambda: found.append(numbers(open_pages(content)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1, 2, 3, 4]] * 4
    assert max(most) == 1


def test_what_is_wrong_does_not_depend_on_the_file_before() -> None:
    """pdfium remembers its last error, and for a file without pages sets none."""
    for before in (encrypted("secret"), pdf(BLANK), b"%PDF-1.7\n"):
        with suppress(InputError):
            list(open_pages(before))
        with pytest.raises(InputError, match=r"broken or has no pages \(.*Data format error"):
            list(open_pages(pdf(kids="", count=0)))
