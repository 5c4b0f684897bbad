"""A searchable PDF: the picture of each page, and its words over it, invisible but found, selected and copied.

The text's font has no glyphs and is in no file: each character of the document has a code (Identity-H), and a table
takes it back to Unicode (ToUnicode). Source: ISO 32000-1, 9.3.6 (text render mode 3) and 9.10.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from folioscope.export.files import jpeg
from folioscope.export.placed import TextLine, placed_blocks
from folioscope.types import Document, PageResult

DPI = 150
"""What a page of unknown size in points is taken to be scanned in."""

QUALITY = 85
"""JPEG quality of the pages' pictures."""

ADVANCE = 0.5
"""Width of every character, in ems; each word is then stretched to its box."""

BASELINE = 0.22
"""Height of the baseline above the bottom of a line's box, of the box's height."""

LONGEST = 14_400
"""Points; no page may be longer."""

UNKNOWN = (595.0, 842.0)
"""Points of a page that could not be had, which stays blank: A4."""

_BLOCK = 100  # entries of one block of a CMap
_FONT = (
    b"<< /Type /Font /Subtype /Type0 /BaseFont /Glyphless /Encoding /Identity-H /DescendantFonts [4 0 R] "
    b"/ToUnicode 6 0 R >>"
)
_DESCENDANT = (
    b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Glyphless /DW 500 /FontDescriptor 5 0 R "
    b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
)
_DESCRIPTOR = (
    b"<< /Type /FontDescriptor /FontName /Glyphless /Flags 4 /FontBBox [0 -220 500 780] /ItalicAngle 0 "
    b"/Ascent 780 /Descent -220 /CapHeight 780 /StemV 80 >>"
)
_CMAP_HEAD = (
    "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
    "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
    "1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"
)


@dataclass
class _Objects:
    """The numbered objects of a PDF; 1 is the catalogue, 2 the pages, 3 to 6 the font."""

    bodies: list[bytes] = field(default_factory=lambda: [b""] * 6)

    def add(self, body: bytes) -> int:
        self.bodies.append(body)
        return len(self.bodies)

    def file(self) -> bytes:
        parts, offsets, length = [b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n"], [], 15
        for number, body in enumerate(self.bodies, 1):
            offsets.append(length)
            parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, body))
            length += len(parts[-1])
        table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        size = len(offsets) + 1
        parts.append(b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table))
        parts.append(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, length))
        return b"".join(parts)


def searchable_pdf(document: Document) -> bytes:
    """The document as a PDF of as many pages, each of its size in points; without a picture, a page has text only."""
    placed = [[line for block in placed_blocks(page) for line in block.lines] for page in document.pages]
    codes = _codes(line for lines in placed for line in lines)
    objects = _Objects()
    pages = [_add_page(objects, page, lines, codes) for page, lines in zip(document.pages, placed, strict=True)]
    kids = b" ".join(b"%d 0 R" % page for page in pages)
    objects.bodies[:6] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        _FONT,
        _DESCENDANT,
        _DESCRIPTOR,
        _stream(_cmap(codes).encode("ascii")),
    ]
    return objects.file()


def _codes(lines: Iterator[TextLine]) -> dict[str, int]:
    """Each character and its code, from 1; beyond two bytes' worth, characters are left out."""
    characters = dict.fromkeys(" ")
    for line in lines:
        characters |= dict.fromkeys(line.text)
    return {character: code for code, character in enumerate(characters, 1) if code <= 0xFFFF}


def _cmap(codes: Mapping[str, int]) -> str:
    entries = [f"<{code:04X}> <{_utf16(character)}>" for character, code in codes.items()]
    blocks = (entries[start : start + _BLOCK] for start in range(0, len(entries), _BLOCK))
    body = "".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar\n" for block in blocks)
    return _CMAP_HEAD + body + "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"


def _utf16(character: str) -> str:
    return character.encode("utf-16-be", "replace").hex().upper()


def _add_page(objects: _Objects, page: PageResult, lines: Sequence[TextLine], codes: Mapping[str, int]) -> int:
    width, height = _points(page)
    image = page.image
    resources, drawing = b"/Font << /F 3 0 R >>", b""
    if image is not None:
        size = b"/Width %d /Height %d" % image.size
        head = b"/Type /XObject /Subtype /Image %s /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode" % size
        number = objects.add(_stream(jpeg(image.convert("RGB"), QUALITY), head))
        resources += b" /XObject << /P %d 0 R >>" % number
        drawing = f"q {width:.2f} 0 0 {height:.2f} 0 0 cm /P Do Q\n".encode()
    text = _text(lines, width / max(1, page.size[0]), height / max(1, page.size[1]), height, codes)
    content = objects.add(_stream(drawing + text.encode("ascii")))
    media = f"[0 0 {width:.2f} {height:.2f}]".encode()
    return objects.add(
        b"<< /Type /Page /Parent 2 0 R /MediaBox %s /Resources << %s >> /Contents %d 0 R >>"
        % (media, resources, content)
    )


def _points(page: PageResult) -> tuple[float, float]:
    if not all(page.size):
        return UNKNOWN
    width, height = page.points or (page.size[0] * 72 / DPI, page.size[1] * 72 / DPI)
    shrunk = min(1.0, LONGEST / max(width, height))
    return max(1.0, width * shrunk), max(1.0, height * shrunk)


def _text(lines: Sequence[TextLine], across: float, down: float, height: float, codes: Mapping[str, int]) -> str:
    parts = ["BT 3 Tr\n"]
    for line in lines:
        size = _type_size(line, across, down)
        baseline = height - line.box[3] * down + BASELINE * (line.box[3] - line.box[1]) * down
        parts.append(f"/F {size:.2f} Tf\n")
        starts = [word.box[0] for word in line.words]
        for word, end in zip(line.words, [*starts[1:], line.box[2]], strict=True):
            shown = word.text + (" " if end != line.box[2] else "")
            string = "".join(f"{codes[character]:04X}" for character in shown if character in codes)
            if string:
                natural = ADVANCE * size * len(string) / 4
                stretch = 100 * max(0.1, (end - word.box[0]) * across) / natural
                parts.append(f"{stretch:.2f} Tz 1 0 0 1 {word.box[0] * across:.2f} {baseline:.2f} Tm <{string}> Tj\n")
    return "".join([*parts, "ET\n"])


def _type_size(line: TextLine, across: float, down: float) -> float:
    """As high as the line, and not so small for its width that its words would be taken for columns."""
    left, top, right, bottom = line.box
    return max(1.0, (bottom - top) * down, 0.9 * (right - left) * across / (ADVANCE * len(line.text)))


def _stream(content: bytes, head: bytes = b"") -> bytes:
    """A stream object, compressed unless its head says how it is coded."""
    if not head:
        content, head = zlib.compress(content), b"/Filter /FlateDecode"
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (head, len(content), content)
