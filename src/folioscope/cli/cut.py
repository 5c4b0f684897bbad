"""`folioscope read --cut`: regions that were read are cut out of their pages, with their boxes as prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from folioscope.cli.report import Report
from folioscope.types import Box, Document, InputError, PageResult

if TYPE_CHECKING:
    from folioscope.export.files import File
    from folioscope.segment import Segmenter

FIGURE = "figure"
"""Names every region that is saved as a figure, whatever the model calls it."""


@dataclass(frozen=True)
class Cutter:
    """What cuts, and the labels of the regions that it cuts out."""

    segmenter: Segmenter
    labels: Sequence[str]

    @classmethod
    def load(cls, labels: Sequence[str], model: str | None, device: str) -> Cutter:
        """With the segmenter of a folder, file or hub id, or the embedded."""
        from folioscope.segment import Segmenter

        return cls(Segmenter.from_pretrained(model, device=device), list(dict.fromkeys(labels)))

    def save(self, document: Document, folder: Path, stem: str, force: bool, report: Report) -> None:
        """Write the cut-outs beside the figures, as `{stem}_images/{page}_{label}_{n}.png`, and print their paths."""
        from folioscope.export.files import write

        for label in self.labels:
            if not any(_boxes(page, label) for page in document):
                there = ", ".join(sorted({region.label for page in document for region in page.regions})) or "none"
                report.warning(f"{document.source}: no region {label!r} to cut out; there are: {there}")
        files = [file for page in document for file in self._files(page, stem, report)]
        report.data("".join(f"{path}\n" for path in write(folder, files, force=force)))

    def _files(self, page: PageResult, stem: str, report: Report) -> Iterator[File]:
        """The page is embedded once, whatever the number of its regions."""
        from folioscope.export.files import File
        from folioscope.export.masks import cutout_png
        from folioscope.masks import MaskPrompt

        named = [(label, number, box) for label in self.labels for number, box in enumerate(_boxes(page, label))]
        image = page.image if named else None
        if image is None:
            return
        report.now(f"{page.source}, page {page.number}: cutting out")
        prompts = [MaskPrompt(box=box) for _, _, box in named]
        objects = self.segmenter.predict_many(self.segmenter.embed(image), prompts)
        for (label, number, _), masks in zip(named, objects, strict=True):
            best = max(masks, key=lambda mask: mask.score)
            if best.area:
                yield File(_name(stem, page.number, label, number), partial(cutout_png, image, best))
            else:
                report.warning(f"{page.source}, page {page.number}: the segmenter finds nothing in {label} {number}")


def _name(stem: str, page: int, label: str, number: int) -> str:
    """As `figure_name` has it, and with the label in letters that are fit for any disk."""
    letters = re.sub(r"[^\w-]+", "_", label)
    return f"{stem}_images/{page}_{letters}_{number}.png"


def _boxes(page: PageResult, label: str) -> list[Box]:
    """Of the page's regions with this label, in whole pixels."""
    from folioscope.export.figures import pixel_box

    chosen = [
        region for region in page.regions if region.label == label or (label == FIGURE and region.figure is not None)
    ]
    return [pixel_box(box, page.size) for region in chosen for box in region.boxes]


def check_cut(labels: Sequence[str] | None, model: str | None, output: Path | None) -> None:
    """Raises InputError for labels without a folder to write to, and for a model without labels."""
    if model and not labels:
        raise InputError("--segmenter: is what --cut cuts with; say what to cut")
    if labels and output is None:
        raise InputError("--cut: needs -o DIR")
