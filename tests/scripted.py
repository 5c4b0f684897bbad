"""A checkpoint that answers each prompt with a text written here, whatever the page: the real network, and weights that
make each token's successor certain."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer

from folioscope.config import OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import EOS, PROMPTS
from folioscope.train.recipe import EMBEDDED_CONFIG
from folioscope.train.vocabulary import save_tokenizer
from folioscope.weights import save_ocr
from test_pages_pdf import pdf, stream

INK = (0.2, 0.7, 0.8, 0.9)
"""Where `sheet` and `sheets` are inked, as parts of the page: inside a box of every answer."""

ANSWERS: Mapping[str, Sequence[str]] = {
    "markdown": (
        *("<|ref|>title<|/ref|>", "<|det|>[[100, 50, 900, 150]]<|/det|>", "\n# Hello\n\n"),
        *("<|ref|>image<|/ref|><|det|>[[0, 500, 999, 999]]<|/det|>", "\n\n"),
    ),
    "ocr": ("<|ref|>Total<|/ref|>", "<|det|>[[0, 0, 999, 500]]<|/det|>", "\n"),
    "free": ("Hello  \n\n\n\n", "world"),
}
"""Pieces of one token each, none twice."""

DECODER = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 16,
    "moe_intermediate_size": 8,
    "num_hidden_layers": 2,
    "first_k_dense_replace": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
TOWERS = {
    "sam_vit_b": {"width": 16, "layers": 1, "heads": 2, "downsample_channels": [16, 16], "neck_channels": 16},
    "clip-l-14-224": {"width": 16, "layers": 1, "heads": 2},
}


def sheet(size: tuple[int, int] = (100, 200)) -> Image.Image:
    """A page with something to read: a black block where the script points at."""
    image = Image.new("RGB", size, "white")
    corners = [round(part * size[index % 2]) for index, part in enumerate(INK)]
    left, top, right, bottom = corners
    image.paste("black", (left, top, max(right, left + 3), max(bottom, top + 3)))
    return image


def sheets(count: int, lost: int = 0, size: str = "100 50", again: int = 1) -> bytes:
    """A PDF of such pages, 100 x 50 points each, all of them `again` times; it claims `lost` more, not there."""
    width, height = map(int, size.split())
    drawing = f"{0.2 * width} {0.1 * height} {0.6 * width} {0.2 * height} re f"
    page = f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {size}]/Contents {3 + count} 0 R>>"
    kids = " ".join(f"{number} 0 R" for number in [*[*range(3, 3 + count)] * again, *[999] * lost])
    return pdf(*[page] * count, stream(drawing), kids=kids, count=count * again + lost)


def raw(prompt: str = "markdown") -> str:
    """What the checkpoint answers."""
    return "".join(ANSWERS[prompt])


def scripted_checkpoint(folder: Path, views: Sequence[int] = (64,)) -> Path:
    """Write the checkpoint into `folder`; pages are read at the first of `views` that holds them."""
    save_tokenizer(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([piece for answer in ANSWERS.values() for piece in answer])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    model = DeepseekOcr(OcrConfig.from_dict(published_shape(views)))
    _script(model, tokenizer)
    save_ocr(model, {}, folder)
    return folder


def published_shape(views: Sequence[int]) -> dict[str, Any]:
    """The `config.json` of a network that is small, and reads pages at these sizes."""
    config = json.loads(json.dumps({**EMBEDDED_CONFIG, **DECODER}))
    config["language_config"].update(DECODER)
    config["candidate_resolutions"] = [[side, side] for side in views]
    config["vision_config"]["image_size"] = 64
    for name, sizes in TOWERS.items():
        config["vision_config"]["width"][name].update(sizes)
    return config


@torch.no_grad()
def _script(model: DeepseekOcr, tokenizer: Tokenizer) -> None:
    """Blocks that add nothing, embeddings as far from one another as chance allows, heads that look for one."""
    for parameter in model.decoder.blocks.parameters():
        parameter.zero_()
    embeddings = model.decoder.embed.weight
    embeddings.copy_(torch.randn(embeddings.shape).sign())
    model.decoder.norm.weight.fill_(1)
    model.decoder.head.weight.zero_()
    for prompt, answer in ANSWERS.items():
        last = tokenizer.encode(PROMPTS[prompt], add_special_tokens=False).ids[-1]
        chain = [last, *(tokenizer.token_to_id(piece) for piece in (*answer, EOS))]
        for before, after in pairwise(chain):
            model.decoder.head.weight[after] += embeddings[before]
