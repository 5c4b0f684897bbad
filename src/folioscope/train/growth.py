"""A deeper image encoder that starts as the one there is: blocks put in that add nothing yet.

Source: LLaMA Pro (arXiv 2401.02415, section 3.2), whose new blocks are copies with their last layers zero.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from folioscope.config import VitConfig
from folioscope.model.sam import Sam
from folioscope.model.sam_vit import SamViT
from folioscope.types import InputError

_BLOCKS = "blocks."
_LAST = ("attn.proj.weight", "attn.proj.bias", "mlp.lin2.weight", "mlp.lin2.bias")


def grown(sam: Sam, vit: VitConfig) -> Sam:
    """A copy of the network whose image encoder has as many blocks as `vit`, and the same outputs: see `deeper`."""
    config = replace(sam.config.vit, layers=vit.layers, global_attn_indexes=vit.global_attn_indexes)
    model = Sam(replace(sam.config, vit=config, published={}))
    vit_weights = deeper(sam.vit, sam.config.vit, config).state_dict(prefix="vit.")
    model.load_state_dict({**sam.state_dict(), **vit_weights})
    return model


@torch.no_grad()
def deeper(vit: SamViT, before: VitConfig, after: VitConfig) -> SamViT:
    """A copy of the encoder with as many blocks as `after` has, and the same outputs.

    What is missing of blocks with windows is put in behind others of them.

    Raises:
        InputError: The encoder's blocks are not among those of `after`.
    """
    weights = {name: part for name, part in vit.state_dict().items() if not name.startswith(_BLOCKS)}
    for number, (source, is_new) in enumerate(_sources(before, after)):
        for name, part in vit.blocks[source].state_dict().items():
            weights[f"{_BLOCKS}{number}.{name}"] = torch.zeros_like(part) if is_new and name in _LAST else part
    model = SamViT(after)
    model.load_state_dict(weights)
    return model


def _sources(before: VitConfig, after: VitConfig) -> list[tuple[int, bool]]:
    """For each block the number of the one that it is made of, and whether it is new."""
    sources: list[tuple[int, bool]] = []
    taken, last = 0, None
    for number in range(after.layers):
        sees_all = number in after.global_attn_indexes
        if taken < before.layers and sees_all == (taken in before.global_attn_indexes):
            last = last if sees_all else taken
            sources.append((taken, False))
            taken += 1
        elif last is not None and not sees_all:
            sources.append((last, True))
    if (taken, len(sources)) != (before.layers, after.layers):
        raise InputError(
            f"a checkpoint with {_blocks(before)} cannot grow to {_blocks(after)}: only blocks with windows are put "
            "in, behind others; start from one of an embedded checkpoint's shape"
        )
    return sources


def _blocks(vit: VitConfig) -> str:
    everywhere = ", ".join(str(number) for number in vit.global_attn_indexes) or "none"
    return f"{vit.layers} blocks ({everywhere} see all)"
