"""ALTO 4: the layout of pages as libraries keep it. Source: alto-4-4.xsd of the Library of Congress."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from folioscope.export.files import xml_text
from folioscope.export.placed import TextBlock, TextLine, placed_blocks
from folioscope.types import Box, Document, PageResult

NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"


def alto(document: Document) -> str:
    """The document as ALTO text, in whole pixels of each page; figures are illustrations."""
    root = ET.Element("alto", {"xmlns": NAMESPACE})
    _describe(root, document.source)
    layout = ET.SubElement(root, "Layout")
    for page in document.pages:
        _add_page(layout, page)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _describe(root: ET.Element, name: str) -> None:
    description = ET.SubElement(root, "Description")
    ET.SubElement(description, "MeasurementUnit").text = "pixel"
    ET.SubElement(ET.SubElement(description, "sourceImageInformation"), "fileName").text = xml_text(name)
    step = ET.SubElement(ET.SubElement(description, "Processing", {"ID": "reading"}), "processingSoftware")
    ET.SubElement(step, "softwareName").text = "folioscope"


def _add_page(layout: ET.Element, page: PageResult) -> None:
    width, height = page.size
    attributes = {"ID": f"page_{page.number}", "PHYSICAL_IMG_NR": str(page.number), "HEIGHT": str(height)}
    if page.confidence is not None:
        attributes["PC"] = f"{page.confidence:.4f}"
    node = ET.SubElement(layout, "Page", attributes | {"WIDTH": str(width)})
    space = ET.SubElement(node, "PrintSpace", _place((0.0, 0.0, float(width), float(height))))
    for index, block in enumerate(placed_blocks(page), 1):
        _add_block(space, block, f"{page.number}_{index}")


def _add_block(space: ET.Element, block: TextBlock, number: str) -> None:
    kind = "TextBlock" if block.lines else "Illustration"
    node = ET.SubElement(space, kind, {"ID": f"block_{number}", **_place(block.box)})
    for index, line in enumerate(block.lines, 1):
        _add_line(node, line, f"{number}_{index}")


def _add_line(block: ET.Element, line: TextLine, number: str) -> None:
    node = ET.SubElement(block, "TextLine", {"ID": f"line_{number}", **_place(line.box)})
    sure = {} if line.confidence is None else {"WC": f"{line.confidence:.4f}"}
    for index, word in enumerate(line.words, 1):
        if index > 1:
            ET.SubElement(node, "SP")
        text = xml_text(word.text)
        ET.SubElement(node, "String", {"ID": f"word_{number}_{index}", "CONTENT": text, **_place(word.box), **sure})


def _place(box: Box) -> dict[str, str]:
    left, top, right, bottom = _whole(box)
    return {"HPOS": str(left), "VPOS": str(top), "WIDTH": str(right - left), "HEIGHT": str(bottom - top)}


def _whole(box: Box) -> Sequence[int]:
    return [round(value) for value in box]
