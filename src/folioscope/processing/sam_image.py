"""Photos → the square, normalised frames that SAM sees; low-resolution masks → masks of the photos.

Source: `SamImageProcessor` of transformers 4.57 and of 5.23 with Pillow, whose resized pixels are those of Segment
Anything's `ResizeLongestSide`; 5.23 with torchvision is one grey level off in a few.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from folioscope.processing.conventions import ImageConventions
from folioscope.processing.features import BatchFeature
from folioscope.processing.intake import label_map, listed, rgb_picture
from folioscope.processing.sam_settings import PUBLISHED, checked
from folioscope.types import InputError
from folioscope.views import Placement, SamFrame, unmap_masks

TYPES = ("SamImageProcessor", "SamImageProcessorFast", "SamImageProcessorPil")
"""Names that versions of transformers write into `image_processor_type`."""

S = TypeVar("S", bound="SamImageProcessor")


class SamImageProcessor(ImageConventions):
    """Resizes the long side, normalises, then pads on the right and below with 0, the mean colour.

    Every setting is an attribute under its published name, and may be given for one call. `do_convert_rgb` is kept for
    the file's sake: images always become RGB.
    """

    do_convert_rgb: bool
    do_resize: bool
    do_rescale: bool
    do_normalize: bool
    do_pad: bool
    size: dict[str, int]
    pad_size: dict[str, int]
    mask_size: dict[str, int]
    mask_pad_size: dict[str, int]
    resample: int
    rescale_factor: float
    image_mean: list[float]
    image_std: list[float]

    model_input_names = ("pixel_values",)

    def __init__(self, **settings: Any):
        """From settings of `preprocessor_config.json`; None or nothing is the published value. Others are kept.

        Raises InputError for a value that cannot be.
        """
        self._others = {name: value for name, value in settings.items() if name not in PUBLISHED}
        for name, default in PUBLISHED.items():
            given = settings.get(name)
            setattr(self, name, checked(name, default if given is None else given))

    @classmethod
    def from_dict(cls: type[S], settings: Mapping[str, Any], **overrides: Any) -> S:
        """From the content of a file. Raises InputError for another processor's or a value that cannot be.

        `overrides` take the place of settings of the same name; what is no setting is left out.
        """
        kept = {**settings, **{name: value for name, value in overrides.items() if name in PUBLISHED}}
        kind = kept.pop("image_processor_type", None) or kept.pop("feature_extractor_type", None) or cls.__name__
        if kind not in (*TYPES, cls.__name__):
            raise InputError(f"image_processor_type {kind!r} is not Segment Anything's, 'SamImageProcessor'")
        for name in ("feature_extractor_type", "processor_class", "auto_map"):
            kept.pop(name, None)
        return cls(**kept)

    def to_dict(self) -> dict[str, Any]:
        """All settings, those that are not SAM's too, and `image_processor_type`."""
        own = {name: copy.deepcopy(getattr(self, name)) for name in PUBLISHED}
        return {**self._others, **own, **self.auto_map(), "image_processor_type": type(self).__name__}

    def __call__(self, images: Any, segmentation_maps: Any = None, **options: Any) -> BatchFeature:
        """As `preprocess`."""
        return self.preprocess(images, segmentation_maps, **options)

    def preprocess(
        self,
        images: Any,
        segmentation_maps: Any = None,
        *,
        return_tensors: str | None = None,
        input_data_format: str | None = None,
        **settings: Any,
    ) -> BatchFeature:
        """Prepare one image, or a batch of B.

        Args:
            images: Paths, bytes, Pillow images, arrays or tensors of (H, W), (H, W, C) or (C, H, W), one or a list; or
                an array or tensor with an axis in front. Numbers are in 0..255, or in 0..1.
            segmentation_maps: For training: for each image a (H, W) map of whole numbers.
            return_tensors: "pt" for tensors, "np" for arrays, None for a list with an entry an image.
            input_data_format: "channels_first" or "channels_last", for arrays where that can be mistaken.
            settings: Settings for this call only.

        Returns:
            pixel_values: (B, 3, S, S) float32.
            original_sizes: (B, 2) int64, height and width of each image.
            reshaped_input_sizes: (B, 2) int64, of what each became before padding.
            labels: (B, s, s) int64, the maps at the size of low-resolution masks. Absent without maps.

        Raises:
            InputError: An image, a map or a setting that cannot be used.
        """
        if return_tensors not in ("pt", "np", None):
            raise InputError(f'return_tensors={return_tensors!r}: give "pt" (torch), "np" (NumPy) or None (lists)')
        step = self._adapted(settings)
        pictures = [rgb_picture(image, input_data_format) for image in listed(images, 3, "images")]
        pixels = [step._pixels(picture, is_unit) for picture, is_unit in pictures]
        originals = [(picture.height, picture.width) for picture, _ in pictures]
        columns: dict[str, list[Any]] = {
            "pixel_values": [step._padded(image) for image in pixels] if step.do_pad else pixels,
            "original_sizes": originals,
            "reshaped_input_sizes": [image.shape[1:] for image in pixels],
        }
        if segmentation_maps is not None:
            columns["labels"] = step._labels(listed(segmentation_maps, 2, "segmentation_maps"), len(pictures))
        return _batch(columns, return_tensors)

    def _adapted(self: S, settings: Mapping[str, Any]) -> S:
        """A copy with other settings."""
        if unknown := sorted(settings.keys() - PUBLISHED.keys()):
            raise InputError(f"{unknown[0]}: no setting of {type(self).__name__}; it has {', '.join(PUBLISHED)}")
        other = copy.copy(self)
        for name, value in settings.items():
            if value is not None:
                setattr(other, name, checked(name, value))
        return other

    def _pixels(self, image: Image.Image, is_unit: bool) -> np.ndarray:
        """(3, h, w) float32, resized and normalised. `is_unit`: the numbers given were in 0..1."""
        if self.do_resize:
            scaled = SamFrame(image.size, self.size["longest_edge"]).scaled
            image = image.resize(scaled, Image.Resampling(self.resample))
        pixels = np.asarray(image)  # (h, w, 3)
        factor = self.rescale_factor if self.do_rescale else 1 / 255 if is_unit else 1
        pixels = self.rescale(pixels, factor)
        if self.do_normalize:
            pixels = self.normalize(pixels, self.image_mean, self.image_std, input_data_format="channels_last")
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (3, h, w)

    def _padded(self, pixels: np.ndarray) -> np.ndarray:
        return _pad(pixels, self.pad_size, "pad_size")

    def _labels(self, maps: Sequence[Any], images: int) -> list[np.ndarray]:
        if len(maps) != images:
            raise InputError(f"segmentation_maps: {len(maps)} maps for {images} images; give one each")
        return [self._label(label_map(labels)) for labels in maps]

    def _label(self, labels: Image.Image) -> np.ndarray:
        if self.do_resize:
            scaled = SamFrame(labels.size, self.mask_size["longest_edge"]).scaled
            labels = labels.resize(scaled, Image.Resampling.NEAREST)
        values = np.asarray(labels).astype(np.int64)  # (h, w)
        return _pad(values, self.mask_pad_size, "mask_pad_size") if self.do_pad else values

    def post_process_masks(
        self,
        masks: Tensor | np.ndarray | Sequence[Tensor | np.ndarray],
        original_sizes: Any,
        reshaped_input_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        pad_size: Mapping[str, int] | None = None,
    ) -> list[Tensor]:
        """Low-resolution logits → masks of the photos, padding removed.

        A few objects at a time: beside the result this takes about 256 MB, or what one object's masks need if that is
        more, about 9 bytes for each of their pixels: 330 MB for three masks of 12 megapixels.

        Args:
            masks: (B, N, M, h, w) as SAM predicts them, or an (N, M, h, w) for each of B images.
            original_sizes: (B, 2), as the processor returned them.
            reshaped_input_sizes: (B, 2), as the processor returned them.
            mask_threshold: A pixel belongs to the object where its logit is above.
            binarize: False returns the logits.
            pad_size: Of the frame, if not the processor's own.

        Returns:
            For each image (N, M, H, W), bool, or float32 logits.
        """
        originals = _sizes(original_sizes, "original_sizes")
        reshaped = _sizes(reshaped_input_sizes, "reshaped_input_sizes")
        if not len(masks) == len(originals) == len(reshaped):
            counts = f"{len(masks)} masks, {len(originals)} original_sizes and {len(reshaped)} reshaped_input_sizes"
            raise InputError(f"{counts}; give one of each for every image")
        padded = checked("pad_size", pad_size or self.pad_size)
        side, threshold = (padded["height"], padded["width"]), mask_threshold if binarize else None
        places = [Placement(*sizes, side) for sizes in zip(originals, reshaped, strict=True)]
        return [_masks_of_photo(_logits(low), place, threshold) for low, place in zip(masks, places, strict=True)]


def _pad(values: np.ndarray, size: Mapping[str, int], name: str) -> np.ndarray:
    """(..., h, w) in the left top corner of zeros."""
    height, width = values.shape[-2:]
    if height > size["height"] or width > size["width"]:
        found = f"{size['width']} x {size['height']} cannot hold {width} x {height} pixels"
        raise InputError(f"{name}: {found}; make it larger, or resize the image")
    around = [(0, 0)] * (values.ndim - 2) + [(0, size["height"] - height), (0, size["width"] - width)]
    return np.pad(values, around)


def _batch(columns: Mapping[str, list[Any]], return_tensors: str | None) -> BatchFeature:
    if return_tensors is None:
        return BatchFeature(columns)
    if len({values.shape for values in columns["pixel_values"]}) > 1:
        raise InputError("images: of different sizes without do_pad; leave do_pad on, or return_tensors=None")
    arrays = {name: np.stack([np.asarray(value) for value in values]) for name, values in columns.items()}
    return BatchFeature(as_returned(arrays, return_tensors))


def as_returned(arrays: Mapping[str, np.ndarray], return_tensors: str | None) -> dict[str, Any]:
    """Arrays, as tensors if those are wanted."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()} if return_tensors == "pt" else {**arrays}


def _sizes(sizes: Any, name: str) -> list[tuple[int, int]]:
    rows = sizes.tolist() if hasattr(sizes, "tolist") else [list(map(int, size)) for size in sizes]
    if any(len(row) != 2 or min(row) < 1 for row in rows):
        raise InputError(f"{name}: {rows}; give the height and width of each image, as the processor returned them")
    return [(int(height), int(width)) for height, width in rows]


def _logits(masks: Any) -> Tensor:
    tensor = torch.from_numpy(masks) if isinstance(masks, np.ndarray) else masks
    if not isinstance(tensor, Tensor) or tensor.ndim < 3 or not tensor.is_floating_point():
        given = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(masks).__name__
        raise InputError(f"masks: {given}; expected logits (N, M, h, w) for each image, as the model predicts them")
    return tensor


def _masks_of_photo(logits: Tensor, place: Placement, threshold: float | None) -> Tensor:
    """Bring (..., h, w) logits of any floating-point dtype to (..., H, W), computed in float32.

    bool, where they are above `threshold`; float32 logits if that is None.
    """
    objects = logits.unflatten(0, (-1, 1)) if logits.ndim == 3 else logits.flatten(0, -4)  # (N, M, h, w)
    dtype = torch.float32 if threshold is None else torch.bool
    masks, done = torch.empty(*objects.shape[:2], *place.original, dtype=dtype, device=logits.device), 0
    for full in unmap_masks(objects, place):
        masks[done : done + len(full)] = full if threshold is None else full > threshold
        done += len(full)
    return masks.view(*logits.shape[:-2], *place.original)
