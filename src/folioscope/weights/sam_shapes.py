"""A SAM's sizes, read off its tensors: Meta's files hold nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from folioscope.config import SamConfig, VitConfig
from folioscope.types import CheckpointError
from folioscope.weights.fitting import Names


def config_from_shapes(
    names: Names, shapes: Mapping[str, Sequence[int]], decoder_heads: int | None, norm_eps: float
) -> SamConfig:
    """The config that only a SAM with tensors of these shapes has.

    Args:
        shapes: By the names of the layout.
        decoder_heads: Of the mask decoder, which no shape tells; None is 8, as published, if it is 256 wide.
        norm_eps: Of the norms in the decoder's blocks.

    Raises:
        CheckpointError: A tensor is missing, no SAM has these shapes, or the number of heads is unknown.
    """

    def size(name: str, axis: int = 0) -> int:
        key = names.published(name)
        if len(shape := shapes.get(key, ())) <= axis or not shape[axis]:
            raise CheckpointError(f"not a SAM: no tensor {key} with {axis + 1} axes or more")
        return shape[axis]

    ours = [names.ours(key) or "" for key in shapes]
    vit = _vit(size, _count(ours, "vit.blocks"))
    width = vit.neck_channels
    if decoder_heads is None and width == VitConfig.neck_channels:
        decoder_heads = SamConfig.decoder_heads
    if decoder_heads is None:
        raise CheckpointError(f"a mask decoder {width} wide does not tell how many heads it has; give a config")
    return SamConfig(
        vit=vit,
        mask_channels=size("prompts.mask_downscaling.3.weight"),
        decoder_layers=_count(ours, "masks.transformer.layers"),
        decoder_heads=decoder_heads,
        decoder_mlp_width=size("masks.transformer.layers.0.mlp.layers.0.weight"),
        final_downsample=width // size("masks.transformer.final_attn_token_to_image.q_proj.weight"),
        multimask_outputs=size("masks.mask_tokens.weight") - 1,
        iou_head_width=size("masks.iou_prediction_head.layers.0.weight"),
        norm_eps=norm_eps,
    )


def _vit(size: Callable[..., int], layers: int) -> VitConfig:
    grid, patch = size("vit.pos_embed", 1), size("vit.patch_embed.proj.weight", 3)
    # a table of relative positions has 2 n - 1 rows, n being the side of a window or of the whole map
    sides = [(size(f"vit.blocks.{layer}.attn.rel_pos_h") + 1) // 2 for layer in range(layers)]
    return VitConfig(
        image_size=grid * patch,
        patch_size=patch,
        width=size("vit.pos_embed", 3),
        layers=layers,
        heads=size("vit.pos_embed", 3) // size("vit.blocks.0.attn.rel_pos_h", 1),
        mlp_width=size("vit.blocks.0.mlp.lin1.weight"),
        global_attn_indexes=tuple(layer for layer, side in enumerate(sides) if side == grid),
        window_size=min((side for side in sides if side != grid), default=VitConfig.window_size),
        neck_channels=size("vit.neck.0.weight"),
    )


def _count(names: Collection[str], modules: str) -> int:
    """How many modules of a list have tensors."""
    numbered = (re.match(rf"{re.escape(modules)}\.(\d+)\.", name) for name in names)
    return len({match[1] for match in numbered if match})
