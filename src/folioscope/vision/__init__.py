"""The networks around images as they run quickest on a CPU; they compute what the plain modules do.

    quicken(model)

gives every `SamViT`, `ClipTrunk` and `MaskDecoder` in a model a class of the same weights and names with another
`forward`. Nothing is done at once: weights are laid out when an image is first encoded or a mask first drawn, and
again if they have changed since. With gradients, on other devices, and while a program is traced or compiled, the plain
`forward` runs.
"""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from folioscope.model.clip import ClipTrunk
from folioscope.model.sam_masks import MaskDecoder
from folioscope.model.sam_vit import SamViT
from folioscope.vision.clip import QuickClip
from folioscope.vision.linear import Kind, multiplies_integers, packs
from folioscope.vision.masks import QuickMaskDecoder
from folioscope.vision.vit import QuickVit

__all__ = ["Kind", "quicken"]

Model = TypeVar("Model", bound=nn.Module)

TAKES_PLACE_OF = {SamViT: QuickVit, ClipTrunk: QuickClip, MaskDecoder: QuickMaskDecoder}


def quicken(model: Model, kind: Kind | None = None) -> Model:
    """The model itself, quick where torch can lay out weights (it has oneDNN).

    Args:
        kind: "int8": image encoders' linear layers of bfloat16 weights multiply integers, inputs rounded as they come,
            where the processor has instructions for it. None computes in the weights' dtype, or in float32 if that is
            quicker.
    """
    for module in model.modules() if packs() else ():
        if quick := TAKES_PLACE_OF.get(type(module)):
            module.__class__ = quick
            vars(module)["kind"] = kind if multiplies_integers() else None
    return model
