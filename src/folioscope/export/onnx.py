"""Segment Anything as two ONNX files: the image encoder, and all that follows it.

The second has the inputs and outputs of Meta's export, which is of that part only, and takes several objects at once.
Source: `SamOnnxModel` of Segment Anything (facebookresearch/segment-anything@dca509f).
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.functional import interpolate

from folioscope.model.sam import Sam
from folioscope.model.sam_prompts import PADDING, PromptEmbeddings
from folioscope.types import InputError, OutputError
from folioscope.views import SAM_MEAN, SAM_STD

ENCODER, DECODER = "image_encoder.onnx", "mask_decoder.onnx"

NEEDED = ("onnx", "onnxscript")
"""What torch exports with."""

LARGE = ".data"
"""Weights of more than ONNX's 2 GB lie beside the file, under its name and this."""


class ImageEncoder(nn.Module):
    """(B, 3, S, S) normalised pixels → (B, C, h, w) image_embeddings."""

    def __init__(self, model: Sam):
        super().__init__()
        self.vit = model.vit

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.vit(pixel_values)


class PromptedDecoder(nn.Module):
    """An image's embedding and the prompts of N objects → their masks at the photo's size."""

    def __init__(self, model: Sam, single_mask: bool):
        super().__init__()
        self.prompts, self.masks = model.prompts, model.masks
        self.side, self.single_mask = model.config.vit.image_size, single_mask

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `export_sam`."""
        grid = (image_embeddings.shape[2], image_embeddings.shape[3])
        sparse = self.prompts.encode(point_coords[None], point_labels[None], grid)  # (1, N, P, C)
        dense = has_mask_input * self.prompts.dense(mask_input) + (1 - has_mask_input) * self.prompts.dense(None)
        padding = point_labels[None] == PADDING
        given = PromptEmbeddings(sparse, dense, padding)
        logits, iou = self.masks(image_embeddings, self.prompts.image_positions(grid), given)
        low, scores = logits[0], iou[0]  # (N, M, 4h, 4w), (N, M)
        if self.single_mask:
            low, scores = _best(low, scores, (~padding[0]).sum(dim=1))
        return self._on_the_photo(low, orig_im_size), scores, low

    def _on_the_photo(self, low: Tensor, orig_im_size: Tensor) -> Tensor:
        """As `views.unmap_masks`, of a photo (H, W) whose size is not known before."""
        scaled = torch.floor(orig_im_size * (self.side / orig_im_size.max()) + 0.5).clamp(min=1)
        height, width = (_length(side, self.side) for side in scaled)
        square = interpolate(low, (self.side, self.side), mode="bilinear")  # (N, M, S, S)
        photo = (_length(orig_im_size[0]), _length(orig_im_size[1]))
        return interpolate(square[..., :height, :width], photo, mode="bilinear")  # (N, M, H, W)


def _length(side: Tensor, most: int | None = None) -> int:
    """The number in a tensor, as a length that the exporter can trust."""
    length: Any = side.to(torch.int64).item()
    torch._check(length > 0)
    if most is not None:
        torch._check(length <= most)
    return length


def _best(low: Tensor, scores: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """One mask an object, as Meta's --return-single-mask chooses it: of two tokens or fewer, one click say, the best of
    those for ambiguous prompts; of more, the one for clear prompts, number 0."""
    clear = torch.tensor([1000.0] + [0.0] * (scores.shape[1] - 1))
    chosen = (scores + (tokens[:, None] - 2.5) * clear).argmax(dim=1, keepdim=True)  # (N, 1)
    index = chosen[..., None, None].expand(-1, -1, *low.shape[2:])
    return low.gather(1, index), scores.gather(1, chosen)


def export_sam(
    model: Sam, folder: str | Path, *, single_mask: bool = False, decoder_only: bool = False, force: bool = False
) -> list[Path]:
    """Write a float32 model on the CPU as `image_encoder.onnx` and `mask_decoder.onnx`, and return their paths.

    The encoder takes `pixel_values` (B, 3, S, S) as `SamImageProcessor` makes them, and gives `image_embeddings`
    (B, C, h, w). The decoder takes, all float32:

    * `image_embeddings` (1, C, h, w), of one image;
    * `point_coords` (N, P, 2), x and y of the tokens of N objects, in pixels of the square of side S;
    * `point_labels` (N, P): 1 on the object, 0 beside it, 2 and 3 the left top and right bottom corner of its box, -1
      not a point, -10 padding, which changes nothing. As in Meta's export, an object without a box needs a last token
      (0, 0) of label -1;
    * `mask_input` (1, 1, 4h, 4w), logits of an earlier prediction, for all objects; read if `has_mask_input` (1,) is 1;
    * `orig_im_size` (2,), height and width of the photo.

    It gives `masks` (N, M, H, W), logits at the photo's size; `iou_predictions` (N, M); and `low_res_masks`
    (N, M, 4h, 4w). M is 4: first the mask for a clear prompt, then the three for one that can mean several things.

    Args:
        folder: Made if it is not there.
        single_mask: M is 1: the mask that Meta's --return-single-mask chooses.
        decoder_only: Leave the image encoder out.
        force: Overwrite files that are there.

    Raises:
        InputError: onnx or onnxscript is not installed.
        OutputError: A file is there already, or the folder cannot be written.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"ONNX: needs {' and '.join(missing)}; pip install 'folioscope[onnx]'")
    folder, names = Path(folder), (DECODER,) if decoder_only else (ENCODER, DECODER)
    if not force and (there := [name for name in names if os.path.lexists(folder / name)]):
        raise OutputError(f"{folder / there[0]}: is there already; --force overwrites it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".saving-") as staging:
            for name in names:
                _program_of(name, model.eval(), single_mask).save(Path(staging, name))
            for name in names:
                Path(folder, name + LARGE).unlink(missing_ok=True)
            for path in sorted(Path(staging).iterdir()):
                os.replace(path, folder / path.name)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error
    return [folder / name for name in names]


def _program_of(name: str, model: Sam, single_mask: bool) -> Any:
    """What a file is to hold."""
    vit, width = model.config.vit, model.config.width
    if name == ENCODER:
        pixels = {"pixel_values": torch.zeros(2, 3, vit.image_size, vit.image_size)}
        batch = {"pixel_values": {0: Dim("batch")}}
        return _program(ImageEncoder(model), pixels, batch, ["image_embeddings"], vit.image_size)
    prompts = {
        "image_embeddings": torch.zeros(1, width, vit.grid, vit.grid),
        "point_coords": torch.zeros(2, 3, 2),
        "point_labels": torch.zeros(2, 3),
        "mask_input": torch.zeros(1, 1, 4 * vit.grid, 4 * vit.grid),
        "has_mask_input": torch.zeros(1),
        "orig_im_size": torch.tensor([float(vit.image_size - 1), float(vit.image_size)]),
    }
    counts = {0: Dim("objects"), 1: Dim("points")}
    dynamic = {name: counts if name.startswith("point") else None for name in prompts}
    found = ["masks", "iou_predictions", "low_res_masks"]
    return _program(PromptedDecoder(model, single_mask), prompts, dynamic, found, vit.image_size)


def _program(
    module: nn.Module, inputs: Mapping[str, Tensor], dynamic: Mapping[str, Any], outputs: Sequence[str], side: int
) -> Any:
    """The exporter's program, with what a caller must know of pixels noted in it."""
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dict(dynamic),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    notes = {"image_size": side, "image_mean": SAM_MEAN, "image_std": SAM_STD}
    program.model.metadata_props.update({name: json.dumps(value) for name, value in notes.items()})
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
