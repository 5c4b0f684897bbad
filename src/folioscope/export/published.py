"""What the published `infer` writes and prints, byte for byte where it is text.

Source: `infer` in modeling_deepseekocr.py of deepseek-ai/DeepSeek-OCR. It evaluates the model's text and divides by
what may be zero; here text is only read, and a figure that cannot be cut out or drawn costs its own file at most.
`folioscope.export.save` is what Folioscope itself writes: this loses the words that the prompts `ocr` and `locate`
put into refs, and numbers links by ref but files by box, as `infer` does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from folioscope.export import geometry
from folioscope.export.figures import PixelBox, cropped
from folioscope.export.files import JPEG_QUALITY, File, jpeg, text_file, write
from folioscope.export.overlay import Mark, draw
from folioscope.grounding.tags import GRID

SAVE_BANNER = "=" * 15 + "save results:" + "=" * 15
"""Printed before anything is saved."""

END_OF_SENTENCE = "<｜end▁of▁sentence｜>"
_REF, _BETWEEN, _END = "<|ref|>", "<|/ref|><|det|>", "<|/det|>"
_IMAGE_REF = "<|ref|>image<|/ref|>"
_VIEW_TOKENS = {512: 64, 640: 100, 1024: 256, 1280: 400}
_TILE_TOKENS = 100


def published_markdown(text: str) -> str:
    """The content of `result.mmd` for the model's text: image refs become links, other refs vanish."""
    text = _stripped(text)
    refs = list(_refs(text))
    images = [ref.markup for ref in refs if _IMAGE_REF in ref.markup]
    others = [ref.markup for ref in refs if _IMAGE_REF not in ref.markup]
    for number, markup in enumerate(images):
        text = text.replace(markup, f"![](images/{number}.jpg)\n")
    for markup in others:
        text = text.replace(markup, "").replace("\\coloneqq", ":=").replace("\\eqqcolon", "=:")
    return text


def compression_statistics(
    text_token_count: int, size: tuple[int, int], tiles: int, base_size: int, image_size: int, crop_mode: bool
) -> str:
    """The six lines printed for `test_compress`, without a newline at the end.

    Args:
        text_token_count: Tokens of the decoded output encoded again, its end-of-sequence token included.
        size: Width and height of the page in pixels.
        tiles: How many tiles it was cut into, 0 for none.
        base_size: As given to `infer`; another than the published sizes counts no token, and the ratio is "inf"
            where `infer` divides by zero.
        image_size: As given to `infer`.
        crop_mode: As given to `infer`.
    """
    tokens = _valid_image_tokens(size, tiles, base_size, image_size, crop_mode)
    lines = (
        "=" * 50,
        f"image size:  {size}",
        f"valid image tokens:  {tokens}",
        f"output texts tokens (valid):  {text_token_count}",
        f"compression ratio:  {round(text_token_count / tokens, 2) if tokens else float('inf')}",
        "=" * 50,
    )
    return "\n".join(lines)


def _valid_image_tokens(size: tuple[int, int], tiles: int, base_size: int, image_size: int, crop_mode: bool) -> int:
    """Tokens of the global view that are not padding, and those of the tiles; rounding as published."""
    padded = base_size >= 1024
    if crop_mode and not padded:
        view = 0
    else:
        content = 1 - (max(size) - min(size)) / max(size) if padded else 1
        view = int(_VIEW_TOKENS.get(base_size, 0) * content)
    return view + (tiles * _TILE_TOKENS if crop_mode and image_size == 640 else 0)


def save_published(text: str, image: Image.Image, folder: str | Path) -> None:
    """Write `result.mmd`, `images/{k}.jpg`, `result_with_boxes.jpg` and, for a parsed figure, `geo.jpg`.

    What is there is overwritten, as `infer` does.

    Args:
        text: The model's text, with or without its end-of-sequence token.
        image: RGB, upright, at its original size.
        folder: Made if it is not there.

    Raises:
        OutputError: The folder cannot be written.
    """
    marks = _marks(_stripped(text), image.size)
    markdown = published_markdown(text)
    files = [
        text_file("result.mmd", markdown),
        *_crops(marks, image),
        *_geometry(markdown),
        File("result_with_boxes.jpg", lambda: jpeg(draw(image, marks))),
    ]
    write(Path(folder), files, force=True)


@dataclass(frozen=True)
class _Ref:
    markup: str
    label: str
    boxes: str


def _stripped(text: str) -> str:
    return text.removesuffix(END_OF_SENTENCE).strip()


def _refs(text: str) -> Iterator[_Ref]:
    """What the published pattern `<ref>(.*?)</ref><det>(.*?)</det>` finds, in linear time."""
    end = 0
    while (start := text.find(_REF, end)) >= 0:
        between = text.find(_BETWEEN, start + len(_REF))
        close = text.find(_END, between + len(_BETWEEN)) if between >= 0 else -1
        if close < 0:
            return
        end = close + len(_END)
        yield _Ref(text[start:end], text[start + len(_REF) : between], text[between + len(_BETWEEN) : close])


def _marks(text: str, size: tuple[int, int]) -> list[Mark]:
    """Each ref with boxes, in a colour of its own; published colours are as random, but differ from run to run."""
    dice = random.Random(0)
    located = ((ref.label, _pixel_boxes(ref.boxes, size)) for ref in _refs(text))
    return [
        Mark(label, boxes, (dice.randrange(200), dice.randrange(200), dice.randrange(255)))
        for label, boxes in located
        if boxes
    ]


def _pixel_boxes(payload: str, size: tuple[int, int]) -> tuple[PixelBox, ...]:
    """Whole pixels on the page, up to the first box that is not four numbers; none if the list cannot be read."""
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError):
        return ()
    boxes = []
    for value in values if isinstance(values, list) else ():
        try:
            x1, y1, x2, y2 = (min(max(int(v / GRID * side), 0), side) for v, side in zip(value, size * 2, strict=True))
        except (TypeError, ValueError, OverflowError):
            break
        boxes.append((x1, y1, x2, y2))
    return tuple(boxes)


def _crops(marks: list[Mark], image: Image.Image) -> Iterator[File]:
    """Every box of an image ref has a number, but one without area has no file."""
    boxes = [box for mark in marks if mark.label == "image" for box in mark.boxes]
    for number, box in enumerate(boxes):
        if box[0] < box[2] and box[1] < box[3]:
            yield File(f"images/{number}.jpg", partial(cropped, image, box, JPEG_QUALITY))


def _geometry(markdown: str) -> Iterator[File]:
    figure = geometry.read(markdown) if "line_type" in markdown else None
    if figure:
        yield File("geo.jpg", lambda: jpeg(geometry.draw(figure)))
