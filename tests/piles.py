"""Piles of documents, some of them broken, and a checkpoint small enough to read hundreds of pages in a test."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from folioscope.batch.begin import begin
from folioscope.batch.plan import Run
from folioscope.batch.settings import Here, Settings
from folioscope.batch.worker import Worker
from folioscope.types import TrustOptions
from test_pages_pdf import encrypted, pdf

FLAGS = ("--dpi", "36", "--max-new-tokens", "6", "--retries", "0", "--format", "md,json")
"""What makes pages cheap, for the command; `settings` is the same."""

BROKEN = ("empty", "text", "cut png", "encrypted", "no pages", "lost page", "not a pdf", "bomb")
"""Ways to be broken. Of "lost page" one page of several is; the others cannot be had at all."""


def pile(folder: Path, documents: int, seed: int, longest: int = 40, broken: float = 0.05) -> dict[str, str]:
    """Write so many documents; return the way in which each broken one is, by its name."""
    chance = random.Random(seed)
    count = max(2, round(documents * broken))
    ways = dict(zip(chance.sample(range(documents), count), BROKEN * documents, strict=False))
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, str] = {}
    for number in range(documents):
        pages = 1 if chance.random() < 0.3 else chance.randint(1, longest)
        name, content = _document(number, pages, ways.get(number), chance)
        (folder / name).write_bytes(content)
        if number in ways:
            found[name] = ways[number]
    return found


def _document(number: int, pages: int, way: str | None, chance: random.Random) -> tuple[str, bytes]:
    if way is not None:
        return _broken(f"{number:03}", way, chance)
    if pages == 1 and chance.random() < 0.5:
        return f"{number:03}.png", _picture(chance)
    return f"{number:03}.pdf", _pdf(pages, chance)


def _broken(stem: str, way: str, chance: random.Random) -> tuple[str, bytes]:
    contents: dict[str, tuple[str, bytes]] = {
        "empty": ("pdf", b""),
        "text": ("png", b"not a picture at all"),
        "cut png": ("png", _picture(chance)[:60]),
        "encrypted": ("pdf", encrypted("secret")),
        "no pages": ("pdf", pdf(kids="", count=0)),
        "lost page": ("pdf", _pdf(5, chance, lost=3)),
        "not a pdf": ("pdf", b"%PDF-1.7\n" + bytes(range(256))),
        "bomb": ("ppm", b"P6 60000 60000 255\n"),
    }
    suffix, content = contents[way]
    return f"{stem}.{suffix}", content


def _pdf(pages: int, chance: random.Random, lost: int | None = None) -> bytes:
    """Pages of different sizes with a few black bars each; the lost one is an object that is not there."""
    objects: list[str] = []
    for page in range(pages):
        bars = [[chance.randint(5, 60) for _ in range(2)] + [chance.randint(10, 60), 4] for _ in range(4)]
        drawing = "".join(f"{' '.join(map(str, bar))} re f\n" for bar in bars)
        box = f"0 0 {100 + page} {chance.randint(80, 140)}"
        objects += [
            f"<</Type/Page/Parent 2 0 R/MediaBox[{box}]/Contents {4 + 2 * page} 0 R>>",
            f"<</Length {len(drawing)}>>stream\n{drawing}endstream",
        ]
    kids = " ".join(f"{999 if page + 1 == lost else 3 + 2 * page} 0 R" for page in range(pages))
    return pdf(*objects, kids=kids, count=pages)


def _picture(chance: random.Random) -> bytes:
    from io import BytesIO

    image = Image.new("RGB", (chance.randint(60, 120), chance.randint(60, 120)), "white")
    for _ in range(4):
        left, top = chance.randint(0, 40), chance.randint(0, 50)
        ImageDraw.Draw(image).rectangle((left, top, left + chance.randint(5, 40), top + 4), "black")
    image.save(stream := BytesIO(), "PNG")
    return stream.getvalue()


def tiny_checkpoint(folder: Path) -> Path:
    """An untrained network that reads pages at 64 pixels and says something different of each."""
    import torch

    from folioscope.config import OcrConfig
    from folioscope.model.ocr import DeepseekOcr
    from folioscope.train.vocabulary import save_tokenizer
    from folioscope.weights import save_ocr
    from scripted import published_shape

    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder)
    torch.manual_seed(0)
    model = DeepseekOcr(OcrConfig.from_dict(published_shape((64,))))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
        model.decoder.head.weight.copy_(torch.randn_like(model.decoder.head.weight))
    save_ocr(model, {}, folder)
    return folder


def settings(checkpoint: Path, **more: Any) -> Settings:
    cheap = {"dpi": 36.0, "max_new_tokens": 6, "trust": TrustOptions(retries=0), "formats": ("md", "json")}
    return Settings(**{"model": str(checkpoint)} | cheap | more)


def quiet_run(sources: Path, out: Path, checkpoint: Path) -> Run:
    """Read a folder in this process, where nobody disturbs."""
    run = begin([str(sources)], str(out), settings(checkpoint))
    Worker(run, Here(str(out))).work()
    return run


def results(out: Path) -> dict[str, dict[str, Any]]:
    """What the merged results say, by file name."""
    lines = "".join(path.read_text() for path in sorted((out / "results").iterdir())).splitlines()
    return {Path(line["source"]).name: line for line in map(json.loads, lines)}


def merged(out: Path) -> dict[str, bytes]:
    """Every byte that a run promises: results, index and files."""
    folders = ("results", "index", "documents")
    files = [path for folder in folders for path in sorted((out / folder).rglob("*")) if path.is_file()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
