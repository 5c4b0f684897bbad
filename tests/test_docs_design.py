"""docs/design.md: numbers and names in its tables are what the code computes; the files it points to are there."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import ROOT
from folioscope.config import MODES, DecoderConfig, OcrConfig
from folioscope.model.cache import KVCache
from folioscope.model.decoder import rotary_table
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import slot_count
from folioscope.train.recipe import EMBEDDED_CONFIG
from folioscope.views import TILE
from folioscope.weights import OCR_NAMES
from folioscope.weights.fitting import hollow
from test_layers import LAYERS, SOURCE

TEXT = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
PUBLISHED, EMBEDDED = OcrConfig(), OcrConfig.from_dict(EMBEDDED_CONFIG)
META = torch.device("meta")
T = 13
"""Stands for any number of positions: no size of either network."""

PARTS = {
    "ViT": r"encoder\.vit\.",
    "Compressor": r"encoder\.compressor\.",
    "CLIP trunk": r"encoder\.clip\.",
    "Projector": r"encoder\.projector\.",
    "Newline and separator": r"encoder\.(newline|separator)$",
    "Token embedding": r"decoder\.embed\.",
    "Decoder attention": r"decoder\.blocks\.\d+\.self_attn\.",
    "Dense MLPs": r"decoder\.blocks\.\d+\.mlp\.(gate|up|down)_proj\.",
    "Routed experts": r"decoder\.blocks\.\d+\.mlp\.experts\.",
    "Shared experts": r"decoder\.blocks\.\d+\.mlp\.shared_experts\.",
    "Routers": r"decoder\.blocks\.\d+\.mlp\.gate\.weight$",
    "Decoder norms": r"decoder\.(blocks\.\d+\.\w+|norm)\.weight$",
    "Head": r"decoder\.head\.",
}
"""Each parameter belongs to exactly one."""


def table(first: str) -> list[list[str]]:
    """The cells of the one table whose first column is headed `first`, header included."""
    tables = [block for block in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE) if block.startswith(f"| {first} |")]
    assert len(tables) == 1, f"{len(tables)} tables of {first}"
    rows = [line.strip("| \n").split(" | ") for line in tables[0].splitlines()]
    return [[cell.strip("`") for cell in row] for row in rows[:1] + rows[2:]]


def column(first: str, number: int) -> dict[str, str]:
    return {row[0]: row[number] for row in table(first)[1:]}


def listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values) or "none"


@pytest.fixture(scope="module")
def models() -> tuple[DeepseekOcr, ...]:
    """The published one without memory, the embedded one whole: meta tensors cannot be resized to its views."""
    return hollow(lambda: DeepseekOcr(PUBLISHED)), DeepseekOcr(EMBEDDED)


@pytest.mark.parametrize(("place", "config"), [(1, PUBLISHED), (2, EMBEDDED)])
def test_sizes(place: int, config: OcrConfig) -> None:
    documented = column("Field", place)
    values = {field: attrgetter(field)(config) for field in documented}
    assert documented == {f: listed(v) if isinstance(v, tuple) else str(v) for f, v in values.items()}


@pytest.mark.parametrize("place", [1, 2])
def test_shapes(place: int, models: tuple[DeepseekOcr, ...]) -> None:
    model, documented, found = models[place - 1], column("Output of", place), {}
    side = model.config.view_sizes[0]

    def record(name: str, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        found[name] = listed("T" if size == T else size for size in first.shape)

    for name in documented:
        if name.startswith(("encoder.", "decoder.")):
            module_at(model, name).register_forward_hook(lambda _, __, output, name=name: record(name, output))
    for name, output in run(model, side):
        record(name, output)
    assert f"one {side}-px view" in table("Output of")[0][place]
    assert documented == {name: found[name] for name in documented}


def module_at(model: nn.Module, name: str) -> nn.Module:
    """The module of a name such as `decoder.blocks[-1].mlp`."""
    found: Any = model
    for part, index in re.findall(r"(\w+)|\[(-?\d+)\]", name):
        found = getattr(found, part) if part else found[int(index)]
    return found


@torch.inference_mode()
def run(model: Any, side: int) -> Iterator[tuple[str, Tensor]]:
    """Pass a view and T positions through, and yield what functions return; without routing, which needs values."""
    config, decoder, device = model.config.decoder, model.decoder, model.device
    yield "image_features", model.image_features(torch.empty(3, side, side, device=device))
    x = decoder.embed(torch.zeros(1, T, dtype=torch.int64, device=device))  # (1, T, hidden)
    positions = torch.arange(T, device=device)[None]
    rotation = rotary_table(positions, config, x.dtype)
    yield "rotary_table", rotation[0]
    yield "queries_keys", decoder.blocks[0].self_attn.queries_keys(x, rotation)[0]
    x = decoder.blocks[0](x, rotation, positions, None)
    mixture = decoder.blocks[-1].mlp
    for module in (mixture.gate, mixture.experts[0], mixture.shared_experts):
        module(x[0])
    decoder.head(x)
    yield "KVCache.keys", KVCache(config, 1, T, x.dtype, device).keys


@pytest.mark.parametrize("place", [1, 2])
def test_parameters(place: int, models: tuple[DeepseekOcr, ...]) -> None:
    model = models[place - 1]
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        (part,) = [part for part, pattern in PARTS.items() if re.match(pattern, name)]
        counts[part] += parameter.numel()
    carried = 3 * PUBLISHED.clip.patch_size**2 * PUBLISHED.clip.width if place == 1 else 0
    whole = sum(counts.values())
    counts |= {
        "Whole model": whole,
        "Carried, unused": carried,
        "Decoder, used for one token": used_for_one_token(counts, model.config.decoder),
        "Bytes as stored": torch.bfloat16.itemsize * (whole + carried),
        "Bytes of KV cache a position, bfloat16": 2
        * KVCache(model.config.decoder, 1, 1, torch.bfloat16, META).keys.nbytes,
    }
    assert column("Part", place) == {part: f"{count:,}" for part, count in counts.items()}


def used_for_one_token(counts: dict[str, int], config: DecoderConfig) -> int:
    idle = counts["Routed experts"] * (config.n_routed_experts - config.num_experts_per_tok) // config.n_routed_experts
    decoder = list(counts.values())[list(counts).index("Decoder attention") :]
    return sum(decoder) - idle


def test_modes() -> None:
    expected = []
    for name, mode in MODES.items():
        view = mode.base_size if mode.crop_mode else mode.image_size
        grid, side = view // PUBLISHED.vit.patch_size, PUBLISHED.tokens_per_side(view)
        windows = math.ceil(grid / PUBLISHED.vit.window_size) ** 2
        crop, slots = "on" if mode.crop_mode else "off", slot_count(side, 0, (1, 1))
        numbers = (mode.base_size, mode.image_size, crop, view, grid, windows, side**2, slots)
        expected.append([name, *map(str, numbers)])
    assert [row[:-1] for row in table("Mode")[1:]] == expected


def test_tiles() -> None:
    small, base, large = (PUBLISHED.tokens_per_side(side) for side in (TILE, 1024, 1280))
    for name, *numbers in table("Columns × rows")[1:]:
        columns, rows = (int(count) for count in name.split(" × ")) if name != "none" else (1, 1)
        tiles = columns * rows if name != "none" else 0
        slots = (slot_count(base, small, (columns, rows)), slot_count(large, base, (columns, rows)))
        assert numbers == [str(number) for number in (base**2 + tiles * small**2, *slots)], name


def test_names() -> None:
    assert [tuple(row) for row in table("Published prefix")[1:]] == list(OCR_NAMES)


def test_layers() -> None:
    documented = [(int(layer), module) for layer, module, _ in table("Layer")[1:]]
    assert documented == [(layer, module) for layer, modules in enumerate(LAYERS) for module in modules]


def test_files_it_points_to_exist() -> None:
    house = TEXT[TEXT.index("## Map of the house") : TEXT.index("## Questions")]
    files = set(re.findall(r"`([\w/]+\.py)`", house))
    assert len(files) > 10
    assert [file for file in sorted(files) if not ((SOURCE / file).is_file() or (ROOT / file).is_file())] == []
