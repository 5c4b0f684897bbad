"""Random DeepSeek-OCR checkpoints of any size, in the published layout and quick to make."""

from __future__ import annotations

from typing import Any

import torch

from folioscope import DeepseekOCRForCausalLM
from folioscope.config import OcrConfig
from folioscope.model.ocr import DeepseekOcr

VOCABULARY = 520
"""As many rows as the golden toy's tokenizer and model have."""

DECODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "n_routed_experts": 4,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 8192,
}
VIT = {"width": 16, "layers": 1, "heads": 1, "global_attn_indexes": [], "neck_channels": 8, "image_size": 512}
CLIP = {"width": 16, "layers": 1, "heads": 1, "image_size": 224, "patch_size": 14}
COMPRESSOR = [12, 16]


def published_config(
    vit: dict[str, Any] = VIT,
    clip: dict[str, Any] = CLIP,
    decoder: dict[str, Any] = DECODER,
    compressor: list[int] = COMPRESSOR,
) -> dict[str, Any]:
    """A `config.json` as the published model's, with the keys that set sizes."""
    sam = {**vit, "downsample_channels": compressor}
    fixed = {"use_mla": False, "topk_method": "greedy", "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "float32"}
    language = {**decoder, **fixed}
    return {
        "architectures": ["DeepseekOCRForCausalLM"],
        "model_type": "deepseek_vl_v2",
        "candidate_resolutions": [[1024, 1024]],
        "tile_tag": "2D",
        "language_config": language,
        "vision_config": {"width": {"sam_vit_b": sam, "clip-l-14-224": clip}},
        **language,
    }


@torch.no_grad()
def random_ocr(published: dict[str, Any] | None = None, seed: int = 0) -> DeepseekOCRForCausalLM:
    """A model with no weight at zero or one, and the patch convolution that published checkpoints carry unused."""
    torch.manual_seed(seed)
    config = OcrConfig.from_dict(published or published_config())
    model = DeepseekOcr(config)
    for weight in model.parameters():
        # vectors and position tables start at 0 or 1, where a wrong use of them would not show
        weight.add_(torch.randn_like(weight), alpha=0.02 if weight.ndim >= 2 else 0.2)
    patches = torch.randn(config.clip.width, 3, config.clip.patch_size, config.clip.patch_size)
    loaded = DeepseekOCRForCausalLM(model, {"unused.clip_patch_embed.weight": patches})
    return loaded.eval().requires_grad_(False)
