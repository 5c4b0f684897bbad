"""The recipe of the embedded reader: what it is made of, what it sees, in which order, and how it is optimised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from folioscope.train.layout import PageStyle
from folioscope.train.schedule import Recipe


@dataclass(frozen=True)
class Stage:
    """A stretch of the curriculum: `steps` optimiser steps on `pages` pages of one style each, in one view size.

    With `max_tiles`, larger pages are cut into up to so many tiles beside the view, as in Gundam mode.
    """

    steps: int
    view: int
    pages: int
    style: PageStyle
    max_tiles: int = 0


@dataclass(frozen=True)
class ReaderRecipe(Recipe[Stage]):
    """See `Recipe`.

    Attributes:
        patch_loss, cell_loss, block_loss, side_loss, look_loss, guide_loss: Weights of the training-only losses, see
            `guides.py`.
        slips: Share of the answers' ids at which the decoder is shown a slip, see `with_slips`.
        vary: Whether pages get proportions and strokes of their own, see `variety`.
    """

    patch_loss: float = 0.5
    cell_loss: float = 1.0
    block_loss: float = 3.0
    side_loss: float = 1.0
    look_loss: float = 0.3
    guide_loss: float = 0.5
    slips: float = 0.0
    vary: bool = False


EMBEDDED = ReaderRecipe(
    stages=(
        Stage(1400, 192, 16, PageStyle(side=192, lines=(1, 8), type_px=(16, 30), degrade=0.3, layout=0.2)),
        Stage(400, 256, 12, PageStyle(side=256, lines=(1, 9), type_px=(16, 34), degrade=0.4, layout=0.4)),
        Stage(1800, 384, 8, PageStyle(side=384, lines=(1, 7), type_px=(17, 34), degrade=0.5, layout=0.5)),
        Stage(270, 384, 8, PageStyle(side=384, lines=(1, 5), type_px=(17, 34), degrade=0.5, layout=0.5)),
    ),
    looks=9,
)
"""The first run behind the shipped checkpoint, from scratch; its ViT had three blocks."""


def _page(
    side: int, lines: tuple[int, int], type_px: tuple[int, int], columns: float = 0.0, tables: float = 0.0
) -> PageStyle:
    return PageStyle(
        side, lines, type_px, random_share=0.45, degrade=0.5, layout=0.6, strength=2, columns=columns, tables=tables,
        endings=0.15, old_figures=0.3,
    )  # fmt: skip


def _round(type_px: tuple[int, int]) -> tuple[Stage, ...]:
    return (
        Stage(4, 384, 8, _page(236, (1, 12), type_px)),
        Stage(4, 640, 4, _page(392, (1, 24), type_px, columns=0.2, tables=0.25)),
        Stage(4, 1024, 2, _page(632, (2, 32), type_px, columns=0.3, tables=0.4)),
        Stage(4, 512, 6, _page(304, (1, 16), type_px, tables=0.2)),
        Stage(4, 1024, 2, _page(632, (2, 28), type_px, columns=0.3, tables=0.4)),
        Stage(4, 1536, 1, _page(1000, (6, 40), type_px, columns=0.6, tables=0.2)),
    )


FURTHER = ReaderRecipe(
    stages=(*_round((15, 36)), *_round((14, 22))) * 75,
    seed=1,
    lr=2e-3,
    warmup=40,
    decay=0.75,
    ema=0.99,
    looks=9,
    block_loss=0.5,
    side_loss=0.1,
    look_loss=0.05,
    guide_loss=1.0,
    slips=0.02,
    vary=True,
)
"""What any run does that starts from a checkpoint (`--init`).

What is shipped are means of such runs' weights, see docs/train.md; the last began at 1e-3 and fell to 0 all the way.

Small type is half of it, since that is what is misread most.

Pages are shown in views some 1.6 times their size, as `views.default_mode` shows them: type of 16 pixels is then as
wide as the patches that have to tell it apart.
"""

_DECODER: Mapping[str, Any] = {
    "vocab_size": 288,
    "hidden_size": 256,
    "intermediate_size": 512,
    "moe_intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 2,
    "max_position_embeddings": 8192,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "use_mla": False,
    "topk_method": "greedy",
}

_TOWERS: Mapping[str, Any] = {
    "sam_vit_b": {
        "width": 128,
        "layers": 4,
        "heads": 4,
        "global_attn_indexes": [],
        "downsample_channels": [192, 256],
        "neck_channels": 128,
        "patch_size": 8,
        "window_size": 8,
    },
    "clip-l-14-224": {"width": 256, "layers": 2, "heads": 8, "image_size": 224, "patch_size": 14},
}

EMBEDDED_CONFIG: Mapping[str, Any] = {
    "architectures": ["DeepseekOCRForCausalLM"],
    "model_type": "deepseek_vl_v2",
    "candidate_resolutions": [[side, side] for side in (384, 512, 640, 768, 896, 1024, 1280, 1536)],
    "global_view_pos": "head",
    "tile_tag": "2D",
    "torch_dtype": "bfloat16",
    "language_config": dict(_DECODER),
    "projector_config": {"model_type": "mlp_projector", "projector_type": "linear", "input_dim": 512, "n_embed": 256},
    "vision_config": {"image_size": 256, "mlp_ratio": 4.0, "model_type": "vision", "width": dict(_TOWERS)},
    **_DECODER,
}
"""`config.json` of the embedded reader: the published layout, with the sizes that the published code hard-codes."""
