"""The arithmetic and the bytes of every stage, from the networks' sizes alone."""

from __future__ import annotations

from folioscope.bench.result import Work
from folioscope.config import ClipConfig, DecoderConfig, OcrConfig, SamConfig, VitConfig

BYTES_A_WEIGHT = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5}
"""Scales of groups left out, so that the floor is one for every grouping."""


def cached_bytes(weights: str) -> int:
    """Of one number in the cache."""
    return 4 if weights == "float32" else 2


def vit(config: VitConfig, side: int) -> Work:
    """SAM's image encoder with its neck, one image of side x side pixels; padding of windows counts."""
    h, width = side // config.patch_size, config.width
    work = Work(2.0 * h * h * width * 3 * config.patch_size**2)
    for layer in range(config.layers):
        window = h if layer in config.global_attn_indexes else config.window_size
        seen = (-(-h // window) * window) ** 2
        linear = 2 * seen * width * 4 * width + 2 * h * h * width * 2 * config.mlp_width
        positions = 2 * seen * width * 2 * window
        work += Work(linear + positions, 2 * 2 * seen * window**2 * width)
    return work + Work(2 * h * h * (width * config.neck_channels + 9 * config.neck_channels**2))


def clip(config: ClipConfig, tokens: int) -> Work:
    """CLIP's blocks on `tokens` image tokens and the class token."""
    seen, width = tokens + 1, config.width
    linear = 2 * seen * (4 * width**2 + 2 * width * config.mlp_width)
    return Work(config.layers * linear, config.layers * 2 * 2 * seen**2 * width)


def vit_weights(config: VitConfig, weights: str) -> Work:
    """Reading the image encoder's matrices once."""
    width, neck = config.width, config.neck_channels
    block = 4 * width**2 + 2 * width * config.mlp_width
    count = 3 * config.patch_size**2 * width + config.layers * block + width * neck + 9 * neck**2
    return Work(read=BYTES_A_WEIGHT[weights] * count)


def encoder_weights(config: OcrConfig, weights: str) -> Work:
    """Reading DeepEncoder's matrices once."""
    width, (middle, last) = config.clip.width, config.compressor_channels
    blocks = config.clip.layers * (4 * width**2 + 2 * width * config.clip.mlp_width)
    compressor = 9 * (config.vit.neck_channels * middle + middle * last)
    count = compressor + blocks + (width + last) * config.decoder.hidden_size
    return vit_weights(config.vit, weights) + Work(read=BYTES_A_WEIGHT[weights] * count)


def encoder(config: OcrConfig, side: int) -> Work:
    """DeepEncoder, one square view."""
    tokens = config.tokens_per_side(side) ** 2
    middle, last = config.compressor_channels
    compressor = 2 * 9 * tokens * (4 * config.vit.neck_channels * middle + middle * last)
    projector = 2 * tokens * (config.clip.width + last) * config.decoder.hidden_size
    return vit(config.vit, side) + Work(compressor + projector) + clip(config.clip, tokens)


def decoder(config: DecoderConfig, weights: str, *, new: int, past: int = 0, batch: int = 1) -> Work:
    """The language model: `new` positions after `past` ones in each of `batch` rows, and logits for the last."""
    size, layers = BYTES_A_WEIGHT[weights], config.num_hidden_layers
    moe = layers - config.first_k_dense_replace
    shared, expert = always_used(config), 3 * config.hidden_size * config.moe_intermediate_size
    head = config.hidden_size * config.vocab_size
    tokens = batch * new
    linear = 2 * tokens * (shared + moe * config.num_experts_per_tok * expert) + 2 * batch * head
    keys = new * past + new * (new + 1) / 2  # causal: each position sees itself and what is before it
    attention = 2 * 2 * batch * keys * config.num_attention_heads * config.head_dim * layers
    cache = batch * past * 2 * config.num_key_value_heads * config.head_dim * layers * cached_bytes(weights)
    touched = shared + moe * expert * experts_touched(config, tokens) + head
    return Work(linear, attention, size * touched + cache)


def always_used(config: DecoderConfig) -> int:
    """Weights that every token meets: attention, dense blocks, routers, shared experts; not the head."""
    hidden, layers, dense = config.hidden_size, config.num_hidden_layers, config.first_k_dense_replace
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    attention = hidden * (2 * queries + 2 * keys)
    mixture = hidden * (config.n_routed_experts + 3 * config.n_shared_experts * config.moe_intermediate_size)
    return layers * attention + dense * 3 * hidden * config.intermediate_size + (layers - dense) * mixture


def experts_touched(config: DecoderConfig, tokens: int) -> float:
    """How many different experts of a block `tokens` tokens choose, if they choose evenly."""
    missed = 1 - config.num_experts_per_tok / config.n_routed_experts
    return config.n_routed_experts * (1 - missed**tokens)


def masks(config: SamConfig, prompts: int) -> Work:
    """SAM's prompt encoder and mask decoder: `prompts` objects with one click each in one embedded image."""
    width, positions = config.width, config.vit.grid**2
    prompted, outputs = 2, 1 + config.multimask_outputs  # a click and what closes it
    tokens = 1 + outputs + prompted
    inner, narrow = width // 2, width // config.final_downsample
    block = 4 * tokens * width**2 + 2 * tokens * width * config.decoder_mlp_width
    block += 2 * 2 * (tokens + positions) * width * inner  # both ways between tokens and image
    final = 2 * (tokens + positions) * width * narrow
    upscaling = positions * width * width + 4 * positions * (width // 4) * (width // 2)
    mixes = outputs * (2 * width**2 + width * (width // 8))
    quality = width * config.iou_head_width + config.iou_head_width * (config.iou_head_width + outputs)
    object_linear = config.decoder_layers * block + final + upscaling + mixes + quality + prompted * width
    shared = 3 * positions * width * inner  # the first block's projections of the image, once for all objects
    mixing = config.decoder_layers * (2 * tokens**2 * width + 4 * tokens * positions * inner)
    mixing += 2 * tokens * positions * narrow + outputs * 16 * positions * (width // 8)
    linear = prompts * object_linear - (prompts - 1) * shared + positions * width
    return Work(2.0 * linear, 2.0 * prompts * mixing)
