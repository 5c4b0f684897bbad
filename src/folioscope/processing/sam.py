"""Photos, points, labels and boxes → what a published SAM is called with, and its masks back on the photos."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from folioscope.processing.conventions import (
    PREPROCESSOR_CONFIG,
    PROCESSOR_CONFIG,
    Conventions,
)
from folioscope.processing.features import BatchFeature
from folioscope.processing.sam_image import SamImageProcessor, as_returned
from folioscope.processing.sam_prompts import sam_prompts
from folioscope.types import InputError
from folioscope.views import SamFrame

S = TypeVar("S", bound="SamProcessor")


class SamProcessor(Conventions):
    """Images and prompts → what `SamModel` is called with.

    Attributes:
        image_processor: Does the images.
    """

    file_name = PROCESSOR_CONFIG
    auto_name = "AutoProcessor"

    def __init__(self, image_processor: SamImageProcessor | None = None):
        """From an image processor; None is the published one."""
        self.image_processor = SamImageProcessor() if image_processor is None else image_processor

    @property
    def target_size(self) -> int:
        """Long side of a resized image in pixels."""
        return self.image_processor.size["longest_edge"]

    @property
    def model_input_names(self) -> list[str]:
        return [*self.image_processor.model_input_names, "original_sizes", "reshaped_input_sizes"]

    @classmethod
    def from_pretrained(cls: type[S], path_or_id: str | Path | None = None, **options: Any) -> S:
        """Load a checkpoint's; see `SamImageProcessor.from_pretrained`, whose arguments these are."""
        image_processor = SamImageProcessor.from_pretrained(path_or_id, **options)
        return cls(image_processor)

    @classmethod
    def from_dict(cls: type[S], settings: Mapping[str, Any], **overrides: Any) -> S:
        """From the content of `processor_config.json`. Raises InputError if no image processor is in it."""
        nested = settings.get("image_processor")
        if not isinstance(nested, Mapping):
            raise InputError(
                f"no image_processor; give the content of a {PROCESSOR_CONFIG} as transformers 5 writes it"
            )
        return cls(SamImageProcessor.from_dict(nested, **overrides))

    def to_dict(self) -> dict[str, Any]:
        """The content of `processor_config.json`, the image processor nested in it."""
        nested = {"image_processor": self.image_processor.to_dict(), "processor_class": type(self).__name__}
        return {**nested, **self.auto_map()}

    def __call__(
        self,
        images: Any,
        *,
        segmentation_maps: Any = None,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        return_tensors: str | None = None,
        **image_options: Any,
    ) -> BatchFeature:
        """Prepare B images and what is asked of them.

        Args:
            images, segmentation_maps, return_tensors, image_options: As of `SamImageProcessor.preprocess`.
            input_points, input_labels, input_boxes: Points, labels and boxes of `sam_prompts`, in pixels of the images.

        Returns:
            What `SamImageProcessor.preprocess` returns, and of what is asked: input_points (B, N, P, 2) float64,
            input_labels (B, N, P) int64, input_boxes (B, N, 4) float64; tensors, or arrays if those are not wanted.

        Raises:
            InputError: An image, a prompt or an option that cannot be used.
        """
        inputs = self.image_processor(images, segmentation_maps, return_tensors=return_tensors, **image_options)
        sizes = zip(inputs["original_sizes"], inputs["reshaped_input_sizes"], strict=True)
        frames = [_frame(original, reshaped) for original, reshaped in sizes]
        inputs.update(as_returned(sam_prompts(input_points, input_labels, input_boxes, frames), return_tensors))
        return inputs

    def post_process_masks(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        """As `SamImageProcessor.post_process_masks`."""
        return self.image_processor.post_process_masks(*args, **kwargs)

    def save_pretrained(
        self, save_directory: str | Path, push_to_hub: bool = False, *, nested: bool = False, **hub_options: Any
    ) -> list[str]:
        """Write the settings; return the files written. See `Conventions.save_pretrained`.

        Args:
            nested: Write `processor_config.json` as transformers 5 does, which 4 cannot read, and not
                `preprocessor_config.json`, which every version reads.
        """
        if nested:
            texts, stale = {PROCESSOR_CONFIG: self.to_json_string()}, PREPROCESSOR_CONFIG
        else:
            texts, stale = {PREPROCESSOR_CONFIG: self._flat_json()}, PROCESSOR_CONFIG
        files = self._saved(texts, save_directory, push_to_hub, hub_options)
        Path(save_directory, stale).unlink(
            missing_ok=True
        )  # transformers 5 would read the nested one, whichever is newer
        return files

    def _flat_json(self) -> str:
        """The image processor's settings with this class's name among them, as transformers 4 writes both."""
        own = self.image_processor.to_dict()
        auto_map = {**own.pop("auto_map", {}), **self.auto_map().get("auto_map", {})}
        flat = {**own, **({"auto_map": auto_map} if auto_map else {}), "processor_class": type(self).__name__}
        return json.dumps(flat, indent=2, sort_keys=True) + "\n"

    def _save_code(self, folder: Path) -> list[Path]:
        return list(dict.fromkeys([*super()._save_code(folder), *self.image_processor._save_code(folder)]))


def _frame(original: Any, reshaped: Any) -> SamFrame:
    height, width = map(int, original)
    return SamFrame((width, height), max(map(int, reshaped)))
