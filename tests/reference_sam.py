"""Random SAMs of transformers, of several shapes: what tests compare with."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

SIDE, GRID = 64, 8

VISION = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "mlp_dim": 40,
    "global_attn_indexes": [1],
    "window_size": 3,
    "image_size": SIDE,
    "patch_size": 8,
}
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "plain": (
        {**VISION, "output_channels": 16, "num_pos_feats": 8},
        {"hidden_size": 16, "mask_input_channels": 8},
        {"hidden_size": 16, "mlp_dim": 20, "num_attention_heads": 2, "iou_head_hidden_dim": 12},
    ),
    "odd": (  # another depth, eps, inner width of the last attention and number of masks; windows larger than the map
        {**VISION, "output_channels": 32, "num_pos_feats": 16, "window_size": 14, "mlp_dim": None, "mlp_ratio": 2.0},
        {"hidden_size": 32, "mask_input_channels": 4},
        {
            "hidden_size": 32,
            "mlp_dim": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "attention_downsample_rate": 4,
            "num_multimask_outputs": 2,
            "iou_head_hidden_dim": 16,
            "layer_norm_eps": 1e-5,
        },
    ),
}


@torch.no_grad()
def random_reference(vision: dict[str, Any], prompts: dict[str, Any], masks: dict[str, Any]) -> Any:
    """The model; its weights are random, none at 0 or 1 where a wrong use of it would not show."""
    import transformers

    torch.manual_seed(0)
    prompts = {**prompts, "image_size": SIDE, "patch_size": 8}
    config = transformers.SamConfig(
        vision_config=transformers.SamVisionConfig(**vision).to_dict(),
        prompt_encoder_config=transformers.SamPromptEncoderConfig(**prompts).to_dict(),
        mask_decoder_config=transformers.SamMaskDecoderConfig(**masks).to_dict(),
        attn_implementation="eager",
    )
    model = transformers.SamModel(config).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        noise = torch.randn_like(weight)
        weight.add_(noise if "positional_embedding" in name else 0.15 * noise)
    model.shared_image_embedding.positional_embedding.copy_(torch.randn(2, prompts["hidden_size"] // 2))
    return model


def save(reference: Any, folder: Path, **options: Any) -> None:
    """Its own `save_pretrained`, without what it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.save_pretrained(folder, **options)
