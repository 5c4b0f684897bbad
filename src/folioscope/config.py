"""What a checkpoint's `config.json` says, as frozen dataclasses; defaults are the published models'.

The published DeepSeek-OCR code reads only the top-level language keys and hard-codes both towers; the values
hard-coded there are the defaults here, and `vision_config.width` overrides them for other sizes.
Source: config.json and modeling_deepseekocr.py of deepseek-ai/DeepSeek-OCR; DeepseekV2Config for what the file omits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from folioscope.types import CheckpointError, InputError


@dataclass(frozen=True)
class VitConfig:
    """SAM's image encoder up to its neck. `image_size` only sizes the stored position tables."""

    image_size: int = 1024
    patch_size: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    window_size: int = 14
    neck_channels: int = 256

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class ClipConfig:
    """CLIP's transformer, fed by the compressor instead of its own patch convolution."""

    image_size: int = 224
    patch_size: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp_width: int = 4096

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class DecoderConfig:
    """DeepSeek's mixture-of-experts language model with plain multi-head attention (`use_mla` false)."""

    vocab_size: int = 129280
    hidden_size: int = 1280
    intermediate_size: int = 6848
    moe_intermediate_size: int = 896
    num_hidden_layers: int = 12
    num_attention_heads: int = 10
    num_key_value_heads: int = 10
    n_routed_experts: int = 64
    n_shared_experts: int = 2
    num_experts_per_tok: int = 6
    first_k_dense_replace: int = 1
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    routed_scaling_factor: float = 1.0
    norm_topk_prob: bool = False
    bos_token_id: int = 0
    eos_token_id: int = 1

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


COMPRESSOR_STRIDE = 4
"""Two stride-2 convolutions between the ViT's neck and CLIP."""


@dataclass(frozen=True)
class OcrConfig:
    """DeepSeek-OCR: DeepEncoder (ViT, compressor, CLIP, projector) and decoder.

    Attributes:
        view_sizes: Sides in pixels of the square views the checkpoint was made for, smallest first. The published
            file says [[1024, 1024]] (`candidate_resolutions`).
        published: The JSON it was read from, kept whole so that saving gives back what was loaded.
    """

    vit: VitConfig = field(default_factory=VitConfig)
    compressor_channels: tuple[int, int] = (512, 1024)
    clip: ClipConfig = field(default_factory=ClipConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    view_sizes: tuple[int, ...] = (1024,)
    published: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def pixels_per_token(self) -> int:
        return self.vit.patch_size * COMPRESSOR_STRIDE

    def tokens_per_side(self, size: int) -> int:
        """Image tokens along one side of a square view of `size` pixels."""
        if size <= 0 or size % self.pixels_per_token:
            raise InputError(
                f"view size {size}: must be a positive multiple of {self.pixels_per_token} pixels for this checkpoint"
            )
        return size // self.pixels_per_token

    @classmethod
    def from_dict(cls, published: Mapping[str, Any]) -> OcrConfig:
        """Read the published JSON. Raises CheckpointError for what this architecture cannot be."""
        _refuse_other_architectures(published)
        width = published.get("vision_config", {}).get("width", {})
        sam, clip = dict(width.get("sam_vit_b", {})), dict(width.get("clip-l-14-224", {}))
        sam.setdefault("image_size", published.get("vision_config", {}).get("image_size", 1024))
        compressor = tuple(sam.pop("downsample_channels", (512, 1024)))
        language = {**published.get("language_config", {}), **published}
        return cls(
            vit=_tower(VitConfig, sam),
            compressor_channels=(int(compressor[0]), int(compressor[1])),
            clip=_tower(ClipConfig, clip),
            decoder=_pick(DecoderConfig, language),
            view_sizes=tuple(sorted(int(side[0]) for side in published.get("candidate_resolutions", [[1024, 1024]]))),
            published=dict(published),
        )


def _refuse_other_architectures(published: Mapping[str, Any]) -> None:
    wanted = {
        "use_mla": (False, True),
        "topk_method": ("greedy", "greedy"),
        "scoring_func": ("softmax", "softmax"),
        "rope_scaling": (None, None),
        "tie_word_embeddings": (False, False),
        "attention_bias": (False, False),
        "hidden_act": ("silu", "silu"),
        "moe_layer_freq": (1, 1),
        "tile_tag": ("2D", "2D"),
    }
    for key, (value, default) in wanted.items():
        found = published.get(key, default)
        if found != value:
            raise CheckpointError(f"config.json: {key}={found!r} is not DeepSeek-OCR v1, which has {key}={value!r}")


def _tower(kind: type, values: dict[str, Any]) -> Any:
    """A tower's numbers; the MLP is 4 x width, as published code has it (its config says 3.7362, unread)."""
    if "width" in values:
        values.setdefault("mlp_width", 4 * values["width"])
    return _pick(kind, values)


def _pick(kind: type, values: Mapping[str, Any]) -> Any:
    names = kind.__dataclass_fields__
    chosen = {
        key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key in names and v is not None
    }
    return kind(**chosen)


_SAM_KEYS: Mapping[str, Mapping[str, str]] = {
    "vision_config": {
        "image_size": "image_size",
        "patch_size": "patch_size",
        "hidden_size": "width",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "mlp_dim": "mlp_width",
        "global_attn_indexes": "global_attn_indexes",
        "window_size": "window_size",
        "output_channels": "neck_channels",
    },
    "prompt_encoder_config": {"mask_input_channels": "mask_channels"},
    "mask_decoder_config": {
        "num_hidden_layers": "decoder_layers",
        "num_attention_heads": "decoder_heads",
        "mlp_dim": "decoder_mlp_width",
        "attention_downsample_rate": "final_downsample",
        "num_multimask_outputs": "multimask_outputs",
        "iou_head_hidden_dim": "iou_head_width",
        "layer_norm_eps": "norm_eps",
    },
}
"""Names of what may differ between SAMs: in transformers' JSON, and in VitConfig or SamConfig."""

_SAM_CONSTANTS: Mapping[str, dict[str, Any]] = {
    "vision_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_channels": 3}
    | dict.fromkeys(("qkv_bias", "use_abs_pos", "use_rel_pos"), True),
    "prompt_encoder_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_point_embeddings": 4},
    "mask_decoder_config": {"hidden_act": "relu", "iou_head_depth": 3},
}


@dataclass(frozen=True)
class SamConfig:
    """Segment Anything: image encoder, prompt encoder and mask decoder, which meet in the width of the ViT's neck.

    Attributes:
        mask_channels: Channels that a mask prompt has before it is widened to the neck's.
        final_downsample: How many times narrower than its input the decoder's last attention works. transformers
            reads its `attention_downsample_rate` there only; in the decoder's blocks it is always 2.
        norm_eps: Of the norms in the decoder's blocks: 1e-6 in transformers' code, 1e-5 in Meta's.
        published: The JSON it was read from, kept whole so that saving gives back what was loaded.
    """

    vit: VitConfig = field(default_factory=VitConfig)
    mask_channels: int = 16
    decoder_layers: int = 2
    decoder_heads: int = 8
    decoder_mlp_width: int = 2048
    final_downsample: int = 2
    multimask_outputs: int = 3
    iou_head_width: int = 256
    norm_eps: float = 1e-6
    published: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, whole, part in (
            ("image_size", self.vit.image_size, self.vit.patch_size),
            ("image encoder's width", self.vit.width, self.vit.heads),
            ("mask decoder's width", self.width, 8),
            ("mask decoder's width", self.width, self.decoder_heads * max(2, self.final_downsample)),
            ("mask_channels", self.mask_channels, 4),
        ):
            if whole <= 0 or part <= 0 or whole % part:
                raise CheckpointError(f"not a SAM: its {name}, {whole}, must be a multiple of {part}")

    @property
    def width(self) -> int:
        return self.vit.neck_channels

    @classmethod
    def from_dict(cls, published: Mapping[str, Any]) -> SamConfig:
        """Read transformers' JSON. Raises CheckpointError for what this architecture cannot be."""
        if published.get("model_type", "sam") != "sam":
            raise CheckpointError(f"config.json: model_type={published['model_type']!r} is not Segment Anything, 'sam'")
        sections = {name: dict(published.get(name) or {}) for name in _SAM_KEYS}
        vision = sections["vision_config"]
        if vision.get("mlp_dim") is None:
            vision["mlp_dim"] = int(vision.get("hidden_size", 768) * vision.get("mlp_ratio", 4))
        own = {ours: sections[name].get(key) for name, keys in _SAM_KEYS.items() for key, ours in keys.items()}
        config = _pick(cls, {**own, "vit": _pick(VitConfig, own), "published": dict(published)})
        for name, section in sections.items():
            for key, value in config.to_dict()[name].items():
                if section.get(key, value) not in (value, None):
                    raise CheckpointError(f"config.json: {name}.{key}={section[key]!r} is no SAM's, which is {value!r}")
        return config

    def to_dict(self) -> dict[str, Any]:
        """The JSON from which transformers makes this model."""
        own = vars(self.vit) | vars(self) | {"global_attn_indexes": list(self.vit.global_attn_indexes)}
        image = {"image_size": self.vit.image_size, "patch_size": self.vit.patch_size}
        derived = {
            "vision_config": {"num_pos_feats": self.width // 2},
            "prompt_encoder_config": {"hidden_size": self.width, "image_embedding_size": self.vit.grid, **image},
            "mask_decoder_config": {"hidden_size": self.width},
        }
        sections = {
            name: {key: own[ours] for key, ours in keys.items()} | _SAM_CONSTANTS[name] | derived[name]
            for name, keys in _SAM_KEYS.items()
        }
        return {"architectures": ["SamModel"], "model_type": "sam", **sections}


@dataclass(frozen=True)
class Mode:
    """How a page becomes views: the published call's three arguments.

    With `crop_mode`, a page above 640 px on a side is cut into 640-px tiles beside a padded global view of
    `base_size`; without, one view of `image_size` is all (squashed up to 640, padded above).

    Attributes:
        max_tiles: Tiles a page may have: 9 in the published `infer`, 6 in the published vLLM recipe; below 2, none.
    """

    base_size: int = 1024
    image_size: int = 640
    crop_mode: bool = True
    max_tiles: int = 9


MODES: Mapping[str, Mode] = {
    "tiny": Mode(512, 512, False),
    "small": Mode(640, 640, False),
    "base": Mode(1024, 1024, False),
    "large": Mode(1280, 1280, False),
    "gundam": Mode(1024, 640, True),
}
"""The resolution modes of the paper's table 1, by name."""
