"""The same networks in transformers, loaded from the same checkpoint."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from folioscope.bench.systems import PHOTO
from folioscope.config import OcrConfig
from folioscope.types import InputError

ENDLESS = 100_000
"""Unlimited-OCR's window over generated tokens. Longer than any text, it is DeepSeek-OCR."""

OLDEST = "5.23"


def transformers() -> Any:
    """The library. Raises InputError where it is missing or knows no Unlimited-OCR."""
    try:
        library = import_module("transformers")
        library.UnlimitedOcrConfig  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise InputError(f'against transformers: pip install "transformers>={OLDEST}" first') from error
    return library


def unlimited_config(config: OcrConfig, image_id: int = 3) -> Any:
    """transformers' config of the network that computes the same as ours."""
    vit, clip, decoder = config.vit, config.clip, config.decoder
    towers = {
        "sam_config": {
            "hidden_size": vit.width,
            "output_channels": vit.neck_channels,
            "num_hidden_layers": vit.layers,
            "num_attention_heads": vit.heads,
            "image_size": vit.image_size,
            "patch_size": vit.patch_size,
            "window_size": vit.window_size,
            "global_attn_indexes": list(vit.global_attn_indexes),
            "mlp_dim": vit.mlp_width,
            "downsample_channels": list(config.compressor_channels),
        },
        "encoder_config": {
            "hidden_size": clip.width,
            "intermediate_size": clip.mlp_width,
            "num_hidden_layers": clip.layers,
            "num_attention_heads": clip.heads,
            "image_size": clip.image_size,
            "patch_size": clip.patch_size,
        },
    }
    text = {**vars(decoder), "sliding_window": ENDLESS}
    return transformers().UnlimitedOcrConfig(image_token_id=image_id, text_config=text, vision_config=towers)


def load_unlimited(folder: Path, config: OcrConfig, dtype: torch.dtype) -> Any:
    """The checkpoint in our folder as transformers loads it, its files linked beside a config of its own."""
    with TemporaryDirectory() as other:
        for file in folder.glob("model*"):
            Path(other, file.name).symlink_to(file.resolve())
        unlimited_config(config).save_pretrained(other)
        kind = transformers().UnlimitedOcrForConditionalGeneration
        return kind.from_pretrained(other, attn_implementation="sdpa", dtype=dtype).eval()


class TheirReader:
    name = "transformers"

    def __init__(self, folder: Path, dtype: str) -> None:
        config = OcrConfig.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        self.dtype = getattr(torch, dtype)
        self.model = load_unlimited(folder, config, self.dtype)
        language = type(self.model.model.language_model).forward
        self.cache = "cache" if "cache" in inspect.signature(language).parameters else "past_key_values"

    def encode(self, views: Tensor) -> object:
        return [self.model.get_image_features(pixel_values=view[None].to(self.dtype)) for view in views]

    def page(self, view: Tensor, tiles: Tensor | None, grid: tuple[int, int]) -> object:
        given: dict[str, Any] = {"pixel_values": view.to(self.dtype)}
        if tiles is not None:
            given |= {"pixel_values_local": tiles.to(self.dtype), "num_local_patches": [len(tiles)]}
            given |= {"patches_grid": [list(grid)]}
        return self.model.get_image_features(**given)

    def prefill(self, ids: Tensor, room: int) -> Any:
        out = self.model.model.language_model(input_ids=ids, use_cache=True)
        self.model.lm_head(out.last_hidden_state[:, -1])
        return out[self.cache]

    def step(self, state: Any, ids: Tensor) -> object:
        out = self.model.model.language_model(input_ids=ids[:, None], use_cache=True, **{self.cache: state})
        return self.model.lm_head(out.last_hidden_state[:, -1])


class TheirSegmenter:
    name = "transformers"

    def __init__(self, folder: Path, dtype: str) -> None:
        self.dtype = getattr(torch, dtype)
        kind = transformers().SamModel
        self.model = kind.from_pretrained(folder, attn_implementation="sdpa", dtype=self.dtype).eval()
        self.processor = transformers().SamImageProcessor()

    def embed(self, pixels: Tensor) -> Tensor:
        return self.model.get_image_embeddings(pixels.to(self.dtype))

    def decode(self, embedding: Tensor, clicks: Tensor) -> Any:
        given = {"image_embeddings": embedding[None], "input_points": clicks[None, :, None].to(self.dtype)}
        labels = torch.ones(1, len(clicks), 1, dtype=torch.int64)
        return self.model(**given, input_labels=labels, multimask_output=True)

    def click(self, embedding: Tensor, clicks: Tensor) -> object:
        masks = self.decode(embedding, clicks).pred_masks
        side = self.model.config.vision_config.image_size
        scale = side / max(PHOTO)
        sizes = [PHOTO[1], PHOTO[0]], [round(PHOTO[1] * scale), round(PHOTO[0] * scale)]
        return self.processor.post_process_masks(masks.float(), [sizes[0]], [sizes[1]])
