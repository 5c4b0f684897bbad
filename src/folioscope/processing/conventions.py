"""What users of the Hugging Face hub expect of every processor: how it is loaded, saved, shared and written down.

Source: `ImageProcessingMixin`, `BaseImageProcessor` and `ProcessorMixin` of transformers 4.57 and 5.23.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar

import numpy as np

from folioscope.hub import SEGMENTER, resolve
from folioscope.processing import intake
from folioscope.storage import read_json
from folioscope.types import CheckpointError, InputError, OutputError

PREPROCESSOR_CONFIG = "preprocessor_config.json"
PROCESSOR_CONFIG = "processor_config.json"

RESOLVED = ("revision", "token", "cache_dir", "local_files_only")
"""Arguments of `folioscope.hub.resolve` that every `from_pretrained` takes."""

P = TypeVar("P", bound="Conventions")
I = TypeVar("I", bound="ImageConventions")  # noqa: E741


def checkpoint_folder(path_or_id: str | Path | None, options: dict[str, Any]) -> Path:
    """A checkpoint's folder without its weights; takes what it needs out of `options`. See `folioscope.hub.resolve`."""
    where = {name: options.pop(name) for name in RESOLVED if name in options}
    return resolve(path_or_id, weights=False, **where)


def image_processor_dict(folder: Path) -> dict[str, Any]:
    """The image processor's settings: nested as transformers 5 saves them, or in a file of their own.

    Raises CheckpointError when the folder has neither.
    """
    if (folder / PROCESSOR_CONFIG).is_file():
        found = read_json(folder / PROCESSOR_CONFIG).get("image_processor")
        if isinstance(found, dict):
            return found
    if not (folder / PREPROCESSOR_CONFIG).is_file():
        files = f"{PREPROCESSOR_CONFIG}, nor a {PROCESSOR_CONFIG} with an image_processor"
        raise CheckpointError(f"{folder}: no {files}; give the folder of a Segment Anything checkpoint")
    return read_json(folder / PREPROCESSOR_CONFIG)


class Conventions:
    """Saving, sharing and writing down; a subclass says what there is to write."""

    file_name: ClassVar[str]
    auto_name: ClassVar[str]
    _auto_class: ClassVar[str | None] = None

    @classmethod
    def from_dict(cls: type[P], settings: Mapping[str, Any], **overrides: Any) -> P:
        """From settings as `to_dict` gives them."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Everything that is needed to make this object again, ready for JSON."""
        raise NotImplementedError

    @classmethod
    def from_json_file(cls: type[P], json_file: str | Path) -> P:
        """From a file as `to_json_file` writes it. Raises CheckpointError when that cannot be."""
        return from_file(cls, Path(json_file), read_json(Path(json_file)), {})

    def to_json_string(self) -> str:
        """The settings as JSON, sorted by name."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | Path) -> None:
        """Write the settings, whole or not at all. Raises OutputError when that cannot be."""
        write_text(Path(json_file_path), self.to_json_string())

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type | None = None) -> None:
        """Make every save name this class in `auto_map` and put its module beside, for transformers' remote code.

        For classes of your own; Folioscope itself never runs code that comes with a checkpoint.
        """
        name = auto_class if isinstance(auto_class, str) else getattr(auto_class, "__name__", cls.auto_name)
        if name != cls.auto_name:
            raise InputError(f"auto_class={name!r}: {cls.__name__} can only be found by {cls.auto_name}")
        cls._auto_class = name

    def auto_map(self) -> dict[str, Any]:
        """`auto_map`, if the class is registered."""
        name = f"{type(self).__module__.rpartition('.')[2]}.{type(self).__name__}"
        return {"auto_map": {self._auto_class: name}} if self._auto_class else {}

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **hub_options: Any) -> list[str]:
        """Write the settings under their published name; return the files written.

        Args:
            save_directory: Made if it is not there.
            push_to_hub: Also upload them; `hub_options` are those of `push_to_hub`, and `repo_id`, by default the
                folder's name.

        Raises:
            OutputError: The folder cannot be written.
            CheckpointError: The upload failed.
        """
        return self._saved({self.file_name: self.to_json_string()}, save_directory, push_to_hub, hub_options)

    def _saved(
        self, texts: Mapping[str, str], save_directory: str | Path, push_to_hub: bool, hub_options: Mapping[str, Any]
    ) -> list[str]:
        """Write `texts` under their names, as `save_pretrained` says."""
        folder = _made_folder(save_directory)
        for name, text in texts.items():
            write_text(folder / name, text)
        files = [*(folder / name for name in texts), *self._save_code(folder)]
        if push_to_hub:
            self.push_to_hub(**{"repo_id": folder.resolve().name, **hub_options})
        return [str(file) for file in files]

    def _save_code(self, folder: Path) -> list[Path]:
        """A copy of the module that defines a registered class."""
        if not self._auto_class:
            return []
        source = getattr(sys.modules[type(self).__module__], "__file__", None)
        if source is None or type(self).__module__ == "__main__":
            raise InputError(f"{type(self).__name__}: registered, but defined in no module; move it to a file")
        target = folder / Path(source).name
        if Path(source).resolve() != target.resolve():
            shutil.copyfile(source, target)
        return [target]

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool = False,
        commit_message: str = "Upload processor with folioscope",
    ) -> str:
        """Upload what `save_pretrained` writes in one commit, beside what the model on the hub has; its address.

        Raises CheckpointError when that fails.
        """
        from huggingface_hub import HfApi  # a quarter second that local work need not cost

        api = HfApi(token=token)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            try:
                repo = api.create_repo(repo_id, private=private, exist_ok=True)
                commit = api.upload_folder(repo_id=repo.repo_id, folder_path=folder, commit_message=commit_message)
            except Exception as error:  # whatever its HTTP library of the day raises
                reason = " ".join(str(error).split()) or type(error).__name__
                raise CheckpointError(f"{repo_id}: not uploaded: {reason}") from error
        return commit.commit_url


class ImageConventions(Conventions):
    """What image processors have on top: their file, and three steps that users call one by one."""

    file_name = PREPROCESSOR_CONFIG
    auto_name = "AutoImageProcessor"

    @classmethod
    def from_pretrained(cls: type[I], path_or_id: str | Path | None = None, **options: Any) -> I:
        """Load a checkpoint's, from either of the files that transformers 4 and 5 write.

        Args:
            path_or_id: A folder, a JSON file, or a hub id, of which no weights are downloaded; None is the embedded
                segmenter's.
            options: Arguments of `folioscope.hub.resolve`, and settings in place of the file's. Others, which published
                examples pass (`use_fast`, `trust_remote_code`, ...), change nothing; no remote code is ever run.

        Raises:
            CheckpointError: There is no such file, or it is not for this class.
        """
        where = Path(path_or_id or SEGMENTER)
        settings, overrides = cls.get_image_processor_dict(path_or_id or where, **options)
        return from_file(cls, where, settings, overrides)

    @classmethod
    def get_image_processor_dict(cls, path_or_id: str | Path, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The settings that `from_pretrained` reads, and those of `options` that are not about where to find them."""
        rest = dict(options)
        if Path(path_or_id).suffix in (".pth", ".safetensors", ".bin"):
            raise CheckpointError(f"{path_or_id}: weights hold no settings; give a folder, or make {cls.__name__}()")
        if Path(path_or_id).is_file():
            return read_json(Path(path_or_id)), {name: value for name, value in rest.items() if name not in RESOLVED}
        return image_processor_dict(checkpoint_folder(path_or_id, rest)), rest

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Paths opened as Pillow images, nested as they are; images and arrays as they are.

        Raises InputError for an http(s) address: nothing is downloaded here.
        """
        return intake.fetch_images(image_url_or_urls)

    def rescale(
        self, image: np.ndarray, scale: float, data_format: str | None = None, input_data_format: str | None = None
    ) -> np.ndarray:
        """`image` times `scale`, float32; `data_format` moves the channels of what comes out."""
        scaled = (_array(image).astype(np.float64) * scale).astype(np.float32)
        axis = intake.channel_axis(scaled.shape, input_data_format) if data_format else 0
        return _formatted(scaled, axis, data_format)

    def normalize(
        self,
        image: np.ndarray,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        data_format: str | None = None,
        input_data_format: str | None = None,
    ) -> np.ndarray:
        """`image` less `mean`, divided by `std`, each one number or one a channel; whole numbers become float32."""
        pixels = _array(image) if _array(image).dtype.kind == "f" else _array(image).astype(np.float32)
        axis = intake.channel_axis(pixels.shape, input_data_format)
        for name, values in (("mean", mean), ("std", std)):
            if np.ndim(values) and len(np.atleast_1d(values)) != pixels.shape[axis]:
                raise InputError(f"{name}: {len(np.atleast_1d(values))} numbers for {pixels.shape[axis]} channels")
        last = np.moveaxis(pixels, axis, -1)
        last = (last - np.asarray(mean, last.dtype)) / np.asarray(std, last.dtype)
        return _formatted(np.moveaxis(last, -1, axis), axis, data_format)

    def center_crop(
        self,
        image: np.ndarray,
        size: Mapping[str, int],
        data_format: str | None = None,
        input_data_format: str | None = None,
    ) -> np.ndarray:
        """The middle `size["height"]` x `size["width"]` pixels, with zeros around an image that is smaller."""
        if not isinstance(size, Mapping) or not {"height", "width"} <= set(size):
            raise InputError(f"size={size!r}: give height and width")
        pixels = _array(image)
        axis = intake.channel_axis(pixels.shape, input_data_format)
        first = np.moveaxis(pixels, axis, 0)  # (C, H, W)
        for side, wanted in ((1, int(size["height"])), (2, int(size["width"]))):
            have = first.shape[side]
            before, start = math.ceil(max(0, wanted - have) / 2), max(0, have - wanted) // 2
            padding = [(0, 0)] * 3
            padding[side] = (before, max(0, wanted - have) - before)
            first = np.pad(first, padding).take(range(start, start + wanted), side)
        return _formatted(np.moveaxis(first, 0, axis), axis, data_format)


def _array(image: Any) -> np.ndarray:
    if not isinstance(image, np.ndarray):
        raise InputError(f"image: a {type(image).__name__}; give an array")
    return image


def _formatted(image: np.ndarray, axis: int, wanted: str | None) -> np.ndarray:
    """The channels, which are at `axis`, where they are wanted."""
    if wanted not in (None, *intake.FORMATS):
        raise InputError(f"data_format={wanted!r}: give {intake.FORMATS[0]!r} or {intake.FORMATS[1]!r}")
    return image if wanted is None else np.moveaxis(image, axis, -intake.FORMATS.index(wanted))


def from_file(cls: type[P], path: Path, settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> P:
    """`cls.from_dict`, with CheckpointError naming the file for settings that cannot be."""
    try:
        return cls.from_dict(settings, **overrides)
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _made_folder(path: str | Path) -> Path:
    """The folder, made if it is not there. Raises OutputError when that cannot be."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made a folder: {error.strerror}") from error
    return Path(path)


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all. Raises OutputError when that cannot be."""
    try:
        with TemporaryDirectory(dir=path.parent, prefix=".saving-") as staging:
            Path(staging, path.name).write_text(text, encoding="utf-8")
            os.replace(Path(staging, path.name), path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
