"""The recipe of the embedded segmenter: what it is made of, what it sees, in which order."""

from __future__ import annotations

from dataclasses import dataclass, replace

from folioscope.config import SamConfig, VitConfig
from folioscope.train.composites.compose import CompositeStyle
from folioscope.train.schedule import Recipe


@dataclass(frozen=True)
class SceneStage:
    """A stretch of the curriculum.

    Attributes:
        steps: Optimiser steps.
        images: Pictures a step.
        objects: Prompts a picture; the encoder's work is shared among them.
        rounds: Probabilities of ending a step after the first prompt, the first correction, and so on.
        style: Of the pictures; its side is the network's.
        pages: Share of rendered pages with figures, stamps, signatures and logos among the pictures.
        boxes: Share of objects prompted for by a box alone; one in ten has a box and a click, the rest a click.
    """

    steps: int
    images: int
    objects: int
    rounds: tuple[float, ...]
    style: CompositeStyle
    pages: float = 0.0
    boxes: float = 0.4


@dataclass(frozen=True)
class SegmenterRecipe(Recipe[SceneStage]):
    """See `Recipe`.

    Attributes:
        focal_loss, iou_loss: Weights beside the dice loss; 20 and 1 in the paper's appendix A.
        choice_loss: Weight of what is lost by choosing a mask by its score; not in the paper.
        kin_loss, look_loss: Weights of the training-only losses, see `scene_guides.py`.
    """

    focal_loss: float = 20.0
    iou_loss: float = 3.0
    choice_loss: float = 1.0
    kin_loss: float = 1.0
    look_loss: float = 0.1


EMBEDDED_CONFIG = SamConfig(
    vit=VitConfig(
        image_size=256,
        patch_size=8,
        width=192,
        layers=8,
        heads=6,
        mlp_width=768,
        global_attn_indexes=(3, 7),
        window_size=8,
        neck_channels=128,
    ),
    decoder_heads=4,
    decoder_mlp_width=512,
    iou_head_width=128,
)
"""The embedded segmenter as it is trained. Its position tables are resized to the pictures of each stage; exported, it
is for those of the last: masks of 192 x 192 for pictures of 384 pixels."""

_LAST = CompositeStyle(side=384, objects=(2, 7), size=(0.1, 0.75))
_SMALLER = replace(_LAST, side=256)

EMBEDDED = SegmenterRecipe(
    stages=(
        SceneStage(
            650, 12, 8, (0.75, 0.15, 0.1), CompositeStyle(side=128, objects=(1, 5), size=(0.2, 0.8)), pages=0.15
        ),
        SceneStage(
            700, 8, 8, (0.55, 0.25, 0.2), CompositeStyle(side=192, objects=(2, 7), size=(0.12, 0.75)), pages=0.2
        ),
        SceneStage(1250, 6, 8, (0.6, 0.25, 0.15), _SMALLER, pages=0.2),
        SceneStage(1360, 4, 8, (0.75, 0.15, 0.1), _LAST, pages=0.2),
        SceneStage(105, 4, 8, (0.88, 0.08, 0.04), _LAST, pages=0.2, boxes=0.6),
    ),
    warmup=100,
    decay=0.6,
    every=30,
    looks=6,
)
"""The curriculum behind the shipped checkpoint: each stage sees more of an object's edge than the one before."""

FURTHER = replace(
    EMBEDDED,
    stages=(
        SceneStage(750, 8, 6, (0.7, 0.2, 0.1), _SMALLER, pages=0.2, boxes=0.45),
        SceneStage(1950, 4, 6, (0.75, 0.15, 0.1), _LAST, pages=0.2, boxes=0.5),
    ),
    lr=1.2e-3,
    warmup=40,
    decay=1.0,
    choice_loss=2.0,
)
"""What `--init` goes on with: many small pictures, then those that the checkpoint is for."""

FINE_TUNING = SegmenterRecipe(
    stages=(SceneStage(300, 4, 8, (0.5, 0.3, 0.2), CompositeStyle()),), lr=3e-4, warmup=20, decay=1.0, every=50
)
"""What `--data` does: a short run at a low rate, falling to zero."""
