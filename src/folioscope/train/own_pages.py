"""Pages of one's own to train on: a file of JSON lines, each an image and what stands on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from folioscope.config import OcrConfig
from folioscope.pages import open_page
from folioscope.tokens import Tokenizer
from folioscope.train.answers import Row, answer_row, asked, pad_rows
from folioscope.train.degrade import degrade
from folioscope.train.layout import PageStyle
from folioscope.train.render import render_page
from folioscope.train.variety import varied_image
from folioscope.types import InputError
from folioscope.views import Views, default_mode, ocr_views

ANSWERS = {"text": "free", "markdown": "markdown"}
"""The field that holds what stands on the page, and the preset prompt it answers."""

MARGIN, STRENGTH = 0.12, 0.7
"""How much a page is varied: margins added, of its longer side at most, and the strength of damages."""

HELD_OUT_ONE_IN = 10
"""Of the pages in a file, so many are not trained on but measured, spread evenly."""


@dataclass(frozen=True)
class OwnPage:
    """A page, a preset prompt, and the answer to be learnt."""

    image: Path
    prompt: str
    answer: str

    def open(self) -> Image.Image:
        """The image, RGB and upright. Raises InputError."""
        return open_page(self.image).image


@dataclass(frozen=True)
class OwnBatch:
    """Pages with their answers; `rows` are (B, T) each, right-padded."""

    views: tuple[Views, ...]
    rows: Row


def load_pages(file: Path) -> list[OwnPage]:
    """The pages of a JSON Lines file; images are found beside it.

    A line is `{"image": "scan.png", "text": "…"}`, plain text, or `{"image": "scan.png", "markdown": "…"}`, Markdown
    with `<|ref|>…<|/ref|><|det|>…<|/det|>` before each block, as the model is to write it.

    Raises:
        InputError: The file cannot be read, a line is something else, or an image is not there.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not readable as UTF-8 text ({error}); give a file of JSON lines") from error
    pages = [_page(line, file, number) for number, line in enumerate(lines, 1) if line.strip()]
    if len(pages) < 2:
        raise InputError(f"{file}: {len(pages)} pages; at least 2 are needed, one of them to measure")
    return pages


def _page(line: str, file: Path, number: int) -> OwnPage:
    try:
        fields: Any = json.loads(line)
    except ValueError as error:
        raise InputError(f"{file}, line {number}: not JSON ({error}); give one object a line") from error
    answers = [name for name in ANSWERS if isinstance(fields, dict) and isinstance(fields.get(name), str)]
    if len(answers) != 1 or not isinstance(fields.get("image"), str):
        raise InputError(f'{file}, line {number}: needs "image" and one of {", ".join(ANSWERS)}, each a string')
    image = file.parent / fields["image"]
    if not image.is_file():
        raise InputError(f"{file}, line {number}: {image} is not there; give its path from the file's folder")
    return OwnPage(image, ANSWERS[answers[0]], fields[answers[0]])


def save_pages(folder: Path, style: PageStyle, count: int, seed: int = 0) -> Path:
    """Draw pages of seeds `seed`, `seed` + 1, … as PNG files, and `pages.jsonl` with their answers; return its path.

    Every other page is asked for Markdown, as in training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        page = render_page(style, seed + number)
        page.image.save(folder / f"{number:04}.png")
        answer = {"markdown": page.grounded} if number % 2 else {"text": page.plain}
        lines.append(json.dumps({"image": f"{number:04}.png", **answer}, ensure_ascii=False))
    file = folder / "pages.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def split_pages(pages: Sequence[OwnPage]) -> tuple[list[OwnPage], list[OwnPage]]:
    """Those to train on and those to measure."""
    every = min(HELD_OUT_ONE_IN, len(pages))
    held_out = [index % every == every - 1 for index in range(len(pages))]
    trained, measured = ([p for p, out in zip(pages, held_out, strict=True) if out == side] for side in (False, True))
    return trained, measured


class OwnBatches(Dataset[OwnBatch]):
    """Step number to its batch: the pages shuffled anew each time round, the same for the same seed and step.

    A page is never seen twice alike (see `copied`, and `with_slips` for its answer), or a small network learns it by
    heart.
    """

    def __init__(
        self, pages: Sequence[OwnPage], size: int, seed: int, config: OcrConfig, tokenizer: Tokenizer, slips: float = 0
    ):
        self.pages, self.size, self.seed, self.slips = pages, size, seed, slips
        self.config, self.tokenizer = config, tokenizer

    def __getitem__(self, step: int) -> OwnBatch:
        places = range(step * self.size, (step + 1) * self.size)
        pages = [self.pages[self._drawn(place)] for place in places]
        rng = np.random.default_rng([self.seed, step])
        images = [copied(page.open(), rng, moved=page.prompt == "free") for page in pages]
        return own_batch(pages, images, self.config, self.tokenizer, self.slips, rng)

    def _drawn(self, place: int) -> int:
        turn, index = divmod(place, len(self.pages))
        order = torch.randperm(len(self.pages), generator=torch.Generator().manual_seed(self.seed + turn))
        return int(order[index])


def copied(image: Image.Image, rng: np.random.Generator, moved: bool) -> Image.Image:
    """The page varied, a little worse or not; with other margins if `moved`: boxes in an answer would not follow."""
    image = varied_image(image, rng)
    if moved:
        paper = tuple(np.median(np.asarray(image).reshape(-1, 3), axis=0).astype(int).tolist())
        left, top, right, bottom = (rng.uniform(0, MARGIN, 4) * max(image.size)).astype(int).tolist()
        image = ImageOps.expand(image, (left, top, right, bottom), paper)
    return degrade(image, rng, STRENGTH) if rng.random() < 0.5 else image


def own_batch(
    pages: Sequence[OwnPage],
    images: Sequence[Image.Image],
    config: OcrConfig,
    tokenizer: Tokenizer,
    slips: float = 0.0,
    rng: np.random.Generator | None = None,
) -> OwnBatch:
    """Tensors of pages and what is seen of them, each in the mode it would be read in."""
    rng = rng or np.random.default_rng(0)
    views = tuple(ocr_views(image, default_mode(config, image.size)) for image in images)
    heads = [asked(page.prompt, seen, config, tokenizer) for page, seen in zip(pages, views, strict=True)]
    rows = [answer_row(head, p.answer, tokenizer, slips, rng) for head, p in zip(heads, pages, strict=True)]
    return OwnBatch(views, pad_rows(rows, tokenizer.pad_token_id))
