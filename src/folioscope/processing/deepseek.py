"""Page images and prompts → what the published page reader is called with, under the names its users know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from folioscope.config import COMPRESSOR_STRIDE, Mode, OcrConfig, VitConfig
from folioscope.hub import resolve
from folioscope.pages import Source, open_page
from folioscope.processing.features import BatchFeature
from folioscope.storage import read_json
from folioscope.tokens import IMAGE, PAD, EncodedPrompt, Tokenizer, encode_prompt, prompt_text, slot_count
from folioscope.types import CheckpointError, InputError, OutputError
from folioscope.views import MEAN, STD, TILE, Views, ocr_views

PROCESSOR_CONFIG = "processor_config.json"

PUBLISHED_SETTINGS: Mapping[str, Any] = {
    "add_special_token": False,
    "candidate_resolutions": [[1024, 1024]],
    "downsample_ratio": COMPRESSOR_STRIDE,
    "ignore_id": -100,
    "image_mean": [MEAN] * 3,
    "image_std": [STD] * 3,
    "image_token": IMAGE,
    "mask_prompt": False,
    "normalize": True,
    "pad_token": PAD,
    "patch_size": 16,
    "processor_class": "DeepseekVLV2Processor",
    "sft_format": "deepseek",
}
"""The published `processor_config.json`; of all this, only the patch size is used."""


class DeepseekOCRProcessor:
    """Prompts and page images → what `DeepseekOCRForCausalLM` is called with; ids → text.

    Attributes:
        tokenizer: The checkpoint's.
    """

    def __init__(self, tokenizer: Tokenizer, settings: Mapping[str, Any] = PUBLISHED_SETTINGS):
        """From a tokenizer and the content of `processor_config.json`. Raises CheckpointError for another model's."""
        self.tokenizer = tokenizer
        self._settings = {**PUBLISHED_SETTINGS, **settings}
        patch, ratio = self._settings["patch_size"], self._settings["downsample_ratio"]
        if not isinstance(patch, int) or patch <= 0 or ratio != COMPRESSOR_STRIDE:
            found = f"patch_size={patch!r} and downsample_ratio={ratio!r}"
            raise CheckpointError(f"{PROCESSOR_CONFIG}: {found} are not DeepSeek-OCR's, such as 16 and 4")
        self._config = OcrConfig(vit=VitConfig(patch_size=patch))

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
    ) -> DeepseekOCRProcessor:
        """Load a checkpoint's processor; a hub id downloads no weights. See `folioscope.hub.resolve` for the arguments.

        `trust_remote_code` is taken because published examples pass it; no remote code is ever run.
        """
        where = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        folder = resolve(path_or_id, weights=False, **where)  # pyright: ignore[reportArgumentType]
        return cls(Tokenizer.from_directory(folder), _settings(folder))

    def __call__(
        self,
        text: str | Sequence[str],
        images: Source | Sequence[Source],
        base_size: int = 1024,
        image_size: int = 640,
        crop_mode: bool = True,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Prepare one page, or a batch of B.

        Args:
            text: A prompt with one `<image>`, or the name of a preset; one for all pages, or one a page.
            images: A path, Pillow image, array or bytes, or a list of them. Of a PDF or a TIFF the first page is read.
            base_size: Side in pixels of the global view with `crop_mode`.
            image_size: Side of the only view without `crop_mode`; with it, 640, the side of a tile.
            crop_mode: Whether a page above 640 px is cut into tiles.
            return_tensors: Only "pt".

        Returns:
            input_ids: (B, T) int64, padded on the right.
            images_seq_mask: (B, T) bool, True on image slots.
            images_spatial_crop: (B, 2) int64, columns and rows of tiles; 1, 1 for a page without.
            pixel_values: (B, 3, S, S) float32 in -1..1, the global views.
            pixel_values_local: (tiles, 3, 640, 640), the tiles of all pages one after the other, each page's in
                reading order. Absent if there are none.
            attention_mask: (B, T) int64, 0 on the padding. Absent for one page.

        Raises:
            InputError: An image, a prompt or a size that cannot be used.
        """
        if return_tensors != "pt":
            raise InputError(f'return_tensors={return_tensors!r}: only "pt" (torch) is returned')
        mode = Mode(base_size, image_size, crop_mode)
        pages = [self._page(prompt, image, mode) for prompt, image in _paired(text, images)]
        return _batch(pages, self.tokenizer.pad_id)

    def _page(self, prompt: str, image: Source, mode: Mode) -> tuple[EncodedPrompt, Views]:
        views = ocr_views(open_page(image, alpha="drop").image, mode)
        view, tile = (self._config.tokens_per_side(size) for size in (views.global_view.shape[-1], TILE))
        return encode_prompt(self.tokenizer, prompt_text(prompt), slot_count(view, tile, views.grid)), views

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """Text of one row of ids, its padding left out. Skipping special tokens also loses `<td>` and `<|ref|>`."""
        kept = (token for token in map(int, ids) if token != self.tokenizer.pad_id)
        return self.tokenizer.decode(kept, skip_special_tokens)

    def batch_decode(self, rows: Iterable[Iterable[int]], skip_special_tokens: bool = False) -> list[str]:
        """Text of every row of what `generate` returned; see `decode`."""
        return [self.decode(row, skip_special_tokens) for row in rows]

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `processor_config.json` and the tokenizer's files. Raises OutputError if that is not possible."""
        self.tokenizer.save_pretrained(directory)
        path = Path(directory, PROCESSOR_CONFIG)
        try:
            path.write_text(json.dumps(self._settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def _settings(folder: Path) -> Mapping[str, Any]:
    """A checkpoint's own, or those that its `config.json` implies."""
    if (folder / PROCESSOR_CONFIG).is_file():
        return read_json(folder / PROCESSOR_CONFIG)
    return {"patch_size": OcrConfig.from_dict(read_json(folder / "config.json")).vit.patch_size}


def _paired(text: str | Sequence[str], images: Source | Sequence[Source]) -> list[tuple[str, Source]]:
    """Each image with its prompt."""
    sources: list[Any] = list(images) if isinstance(images, (list, tuple)) else [images]
    prompts = [text] * len(sources) if isinstance(text, str) else list(text)
    if not sources or len(prompts) != len(sources):
        counts = f"{len(prompts)} prompts and {len(sources)} images"
        raise InputError(f"{counts}: give at least one image, and one prompt for all or one for each")
    return list(zip(prompts, sources, strict=True))


def _batch(pages: Sequence[tuple[EncodedPrompt, Views]], pad_id: int) -> BatchFeature:
    ids = [torch.tensor(encoded.ids) for encoded, _ in pages]
    masks = [torch.tensor(encoded.image_mask) for encoded, _ in pages]
    batch = BatchFeature(
        input_ids=pad_sequence(ids, batch_first=True, padding_value=pad_id),  # (B, T)
        images_seq_mask=pad_sequence(masks, batch_first=True),  # (B, T)
        images_spatial_crop=torch.tensor([views.grid for _, views in pages]),  # (B, 2)
        pixel_values=torch.stack([views.global_view for _, views in pages]),  # (B, 3, S, S)
    )
    tiles = [views.tiles for _, views in pages if views.tiles is not None]
    if tiles:
        batch["pixel_values_local"] = torch.cat(tiles)  # (tiles, 3, 640, 640)
    if len(pages) > 1:
        batch["attention_mask"] = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)  # (B, T)
    return batch
