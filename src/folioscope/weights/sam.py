"""Segment Anything in both published layouts, transformers' folder and Meta's single file, told apart by their keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from folioscope.config import SamConfig
from folioscope.model.sam import Sam
from folioscope.storage import (
    SHARD_BYTES,
    read_json,
    stored_notes,
    stored_tensors,
    weight_files,
    write_checkpoint,
    write_pickled,
)
from folioscope.types import CheckpointError, OutputError
from folioscope.weights.fitting import Names, filled, fitting, hollow
from folioscope.weights.sam_shapes import config_from_shapes

Layout = Literal["hf", "meta"]

_MATRIX = "prompts.positions.matrix"
_BLOCK_MLP = "masks.transformer.layers.#.mlp.layers"
_HYPERNETWORK = "masks.output_hypernetworks_mlps.#.layers"

META_NAMES = Names(
    rules=(
        ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", _MATRIX),
        ("mask_decoder.transformer.layers.#.mlp.lin1.", f"{_BLOCK_MLP}.0."),
        ("mask_decoder.transformer.layers.#.mlp.lin2.", f"{_BLOCK_MLP}.1."),
        ("image_encoder.", "vit."),
        ("prompt_encoder.", "prompts."),
        ("mask_decoder.", "masks."),
    ),
    ignored=frozenset({"pixel_mean", "pixel_std"}),
)
"""Meta's names: ours, under other roofs. Files of early versions hold the normalisation's constants too."""

HF_NAMES = Names(
    rules=(
        ("shared_image_embedding.positional_embedding", _MATRIX),
        ("vision_encoder.patch_embed.projection.", "vit.patch_embed.proj."),
        ("vision_encoder.layers.#.layer_norm#.", "vit.blocks.#.norm#."),
        ("vision_encoder.layers.", "vit.blocks."),
        ("vision_encoder.neck.conv1.", "vit.neck.0."),
        ("vision_encoder.neck.layer_norm1.", "vit.neck.1."),
        ("vision_encoder.neck.conv2.", "vit.neck.2."),
        ("vision_encoder.neck.layer_norm2.", "vit.neck.3."),
        ("vision_encoder.", "vit."),
        ("prompt_encoder.point_embed.", "prompts.point_embeddings."),
        ("prompt_encoder.mask_embed.conv1.", "prompts.mask_downscaling.0."),
        ("prompt_encoder.mask_embed.layer_norm1.", "prompts.mask_downscaling.1."),
        ("prompt_encoder.mask_embed.conv2.", "prompts.mask_downscaling.3."),
        ("prompt_encoder.mask_embed.layer_norm2.", "prompts.mask_downscaling.4."),
        ("prompt_encoder.mask_embed.conv3.", "prompts.mask_downscaling.6."),
        ("prompt_encoder.", "prompts."),
        ("mask_decoder.transformer.layers.#.layer_norm#.", "masks.transformer.layers.#.norm#."),
        ("mask_decoder.transformer.layers.#.mlp.lin1.", f"{_BLOCK_MLP}.0."),
        ("mask_decoder.transformer.layers.#.mlp.lin2.", f"{_BLOCK_MLP}.1."),
        ("mask_decoder.transformer.layer_norm_final_attn.", "masks.transformer.norm_final_attn."),
        ("mask_decoder.upscale_conv1.", "masks.output_upscaling.0."),
        ("mask_decoder.upscale_layer_norm.", "masks.output_upscaling.1."),
        ("mask_decoder.upscale_conv2.", "masks.output_upscaling.3."),
        ("mask_decoder.output_hypernetworks_mlps.#.proj_in.", f"{_HYPERNETWORK}.0."),
        ("mask_decoder.output_hypernetworks_mlps.#.layers.0.", f"{_HYPERNETWORK}.1."),
        ("mask_decoder.output_hypernetworks_mlps.#.proj_out.", f"{_HYPERNETWORK}.2."),
        ("mask_decoder.iou_prediction_head.proj_in.", "masks.iou_prediction_head.layers.0."),
        ("mask_decoder.iou_prediction_head.layers.0.", "masks.iou_prediction_head.layers.1."),
        ("mask_decoder.iou_prediction_head.proj_out.", "masks.iou_prediction_head.layers.2."),
        ("mask_decoder.", "masks."),
    ),
    copies={"prompt_encoder.shared_embedding.positional_embedding": "shared_image_embedding.positional_embedding"},
)
"""transformers' names. Either name of the position matrix will do; what is written is the first, as 5.x does."""

_LAYOUTS: Mapping[Layout, Names] = {"hf": HF_NAMES, "meta": META_NAMES}

NORM_EPS: Mapping[Layout, float] = {"hf": 1e-6, "meta": 1e-5}
"""What the two implementations have in the decoder's blocks; of the two, only transformers' config can say it."""

_HEADS_NOTE = "mask_decoder_heads"
"""Under this name a file of Meta's layout that we write notes what no tensor's shape can tell."""


def load_sam(
    path: str | Path,
    *,
    config: SamConfig | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Sam:
    """Load a SAM of any size.

    Args:
        path: A folder with `config.json` and the weights, whole or in shards; or one file of weights, such as
            `sam_vit_b_01ec64.pth`, whose sizes are read off the tensors' shapes.
        config: What the model is; None is what the checkpoint says. A file not written here needs it if its mask
            decoder is not 256 wide, the published width, for which the number of heads is known.
        device: Where the weights go.
        dtype: Floating-point dtype of all weights; None keeps what is stored.

    Returns:
        The model in evaluation mode. On the CPU in the stored dtype the weights stay in the mapped file.

    Raises:
        CheckpointError: A file is missing, damaged, no SAM or would run code; or tensors are missing, unexpected, of
            another shape, or not finite. Large checkpoints (100 MB and more) have only their vectors scanned for NaN.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder; give a SAM's folder or .pth file")
    if path.is_dir() and config is None:
        config = _published(path)
    files = weight_files(path) if path.is_dir() else [path]
    shapes = {key: tensor.shape for file in files for key, tensor in stored_tensors(file)}
    layout = _layout(path, shapes)
    config = config or _inferred(path, shapes, layout)
    model = hollow(lambda: Sam(config))
    whose = "config.json's" if path.is_dir() else "a"
    refusal = f"{path}: these weights are not {whose} SAM"
    return filled(model, fitting(files, _LAYOUTS[layout], model.state_dict(), device, dtype, refusal))


def _published(folder: Path) -> SamConfig:
    try:
        return SamConfig.from_dict(read_json(folder / "config.json"))
    except CheckpointError as error:
        message = str(error)
        raise CheckpointError(message if message.startswith(str(folder)) else f"{folder}: {message}") from error


def _layout(path: Path, keys: Collection[str]) -> Layout:
    """The layout that knows most of these keys."""
    known = {layout: sum(names.ours(key) is not None for key in keys) for layout, names in _LAYOUTS.items()}
    if not any(known.values()):
        found = f"none of its {len(keys)} tensors ({', '.join(sorted(keys)[:2])}, …)" if keys else "no tensor"
        raise CheckpointError(f"{path}: not a SAM: {found} has a name of either layout; give a Segment Anything model")
    return max(_LAYOUTS, key=lambda layout: known[layout])


def _inferred(file: Path, shapes: Mapping[str, Sequence[int]], layout: Layout) -> SamConfig:
    heads = stored_notes(file).get(_HEADS_NOTE)
    heads = heads if isinstance(heads, int) else None
    try:
        return config_from_shapes(_LAYOUTS[layout], shapes, heads, NORM_EPS[layout])
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error


def save_sam(model: Sam, path: str | Path, *, layout: Layout = "hf", max_shard_size: int = SHARD_BYTES) -> None:
    """Write a model as its users will look for it.

    Every file appears whole under its name or not at all; what was there before is replaced.

    Args:
        path: A folder for "hf": `config.json` and `model.safetensors` or shards with an index. A file for "meta",
            which says nothing of the eps of the decoder's norms: what reads it takes 1e-5.
        max_shard_size: Bytes of tensors a file may hold in a folder, unless one tensor alone is larger.

    Raises:
        OutputError: The folder or file cannot be written.
    """
    path, config = Path(path), model.config
    tensors = {_LAYOUTS[layout].published(name): tensor for name, tensor in model.state_dict().items()}
    if layout == "meta":
        if path.suffix != ".pth":
            raise OutputError(f"{path}: Meta's layout is one file; give it a name that ends in .pth")
        write_pickled(tensors, {_HEADS_NOTE: config.decoder_heads}, path)
        return
    json = (
        config.published if config.published and SamConfig.from_dict(config.published) == config else config.to_dict()
    )
    write_checkpoint(tensors, json, path, max_shard_size)
