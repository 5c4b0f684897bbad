"""The conventions of the hub: how processors are loaded, saved, shared and written down."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from folioscope import AutoImageProcessor, AutoProcessor, DeepseekOCRProcessor, SamImageProcessor, SamProcessor
from folioscope.config import SamConfig
from folioscope.hub import EMBEDDED, SEGMENTER
from folioscope.types import CheckpointError, InputError, OutputError
from test_hub import REPO, Hub, hub  # noqa: F401

FLAT, NESTED = "preprocessor_config.json", "processor_config.json"
SETTINGS = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}, "image_mean": [0.1, 0.2, 0.3]}

CUSTOM = """
from folioscope import SamImageProcessor, SamProcessor

class Sharper(SamImageProcessor):
    pass

class SharperProcessor(SamProcessor):
    pass
"""


@pytest.fixture
def processor() -> SamProcessor:
    return SamProcessor(SamImageProcessor(**SETTINGS))


@pytest.fixture
def custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user's module with classes of their own."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sharper_processing.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    return importlib.reload(importlib.import_module("sharper_processing"))


def read(*path: Path | str) -> dict[str, Any]:
    return json.loads(Path(*path).read_text("utf-8"))


def test_published_values() -> None:
    assert SamImageProcessor().to_dict() == {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_processor_type": "SamImageProcessor",
        "image_std": [0.229, 0.224, 0.225],
        "mask_pad_size": {"height": 256, "width": 256},
        "mask_size": {"longest_edge": 256},
        "pad_size": {"height": 1024, "width": 1024},
        "resample": 2,
        "rescale_factor": 0.00392156862745098,
        "size": {"longest_edge": 1024},
    }


def test_dictionaries_and_json(processor: SamProcessor, tmp_path: Path) -> None:
    ours = processor.image_processor
    assert ours.size == SETTINGS["size"]
    assert SamImageProcessor.from_dict(ours.to_dict()).to_dict() == ours.to_dict()
    assert SamImageProcessor.from_dict(ours.to_dict(), do_pad=False).do_pad is False
    assert json.loads(ours.to_json_string()) == ours.to_dict()
    assert ours.to_json_string() in repr(ours)
    assert SamProcessor.from_dict(processor.to_dict()).to_dict() == processor.to_dict()
    for one in (ours, processor):
        one.to_json_file(tmp_path / "settings.json")
        assert type(one).from_json_file(tmp_path / "settings.json").to_dict() == one.to_dict()
    changed = ours.to_dict()
    changed["size"]["longest_edge"] = 1
    assert ours.size == SETTINGS["size"]


def test_what_is_not_sams_is_kept_and_null_is_the_published_value(tmp_path: Path) -> None:
    (tmp_path / FLAT).write_text(
        '{"note": "mine", "pad_size": null, "do_pad": false, "processor_class": "SamProcessor"}'
    )
    loaded = SamImageProcessor.from_pretrained(tmp_path)
    assert loaded.pad_size == {"height": 1024, "width": 1024}
    assert loaded.to_dict() == {**SamImageProcessor().to_dict(), "do_pad": False, "note": "mine"}


@pytest.mark.parametrize("nested", [False, True])
def test_saved_both_ways_and_loaded(processor: SamProcessor, tmp_path: Path, nested: bool) -> None:
    files = processor.save_pretrained(tmp_path / "new" / "folder", nested=nested)
    name = NESTED if nested else FLAT
    assert files == [str(tmp_path / "new" / "folder" / name)]
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [name]
    saved, own = read(files[0]), processor.image_processor.to_dict()
    expected = {"image_processor": own, "processor_class": "SamProcessor"}
    assert saved == (expected if nested else {**own, "processor_class": "SamProcessor"})
    for name in (tmp_path / "new" / "folder", str(tmp_path / "new" / "folder")):
        for kind in (SamProcessor, AutoProcessor):
            loaded = kind.from_pretrained(name)
            assert isinstance(loaded, SamProcessor)
            assert loaded.to_dict() == processor.to_dict()
        for kind in (SamImageProcessor, AutoImageProcessor):
            assert kind.from_pretrained(name, use_fast=False).to_dict() == own
    assert SamProcessor.from_pretrained(tmp_path / "new" / "folder", size=32).target_size == 32


def test_saving_the_other_way_leaves_nothing_stale(processor: SamProcessor, tmp_path: Path) -> None:
    SamProcessor().save_pretrained(tmp_path, nested=True)
    processor.save_pretrained(tmp_path)
    assert SamProcessor.from_pretrained(tmp_path).target_size == 64
    SamProcessor().save_pretrained(tmp_path, nested=True)
    assert SamProcessor.from_pretrained(tmp_path).target_size == 1024
    assert [path.name for path in tmp_path.iterdir()] == [NESTED]


def test_the_image_processor_alone(processor: SamProcessor, tmp_path: Path) -> None:
    assert processor.image_processor.save_pretrained(tmp_path) == [str(tmp_path / FLAT)]
    settings, rest = SamImageProcessor.get_image_processor_dict(tmp_path, revision="main", colour="red")
    assert (settings, rest) == (processor.image_processor.to_dict(), {"colour": "red"})
    assert SamImageProcessor.from_pretrained(tmp_path / FLAT).to_dict() == settings
    assert AutoProcessor.from_pretrained(tmp_path).to_dict() == processor.to_dict()  # pyright: ignore


def test_the_embedded_segmenter_is_what_nothing_means() -> None:
    if not SEGMENTER.is_dir():
        pytest.skip("this installation has no embedded segmenter")
    side = SamConfig.from_dict(read(SEGMENTER, "config.json")).vit.image_size
    for processor in (SamProcessor.from_pretrained().image_processor, SamImageProcessor.from_pretrained()):
        assert processor.size == {"longest_edge": side}
    assert SamProcessor.from_pretrained(image_mean=0.5).image_processor.image_mean == [0.5] * 3


@pytest.mark.parametrize("name", ["sam_vit_b_01ec64.pth", "model.safetensors"])
def test_weights_hold_no_settings(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80")
    with pytest.raises(CheckpointError, match=rf"{name}: weights hold no settings; give .* SamImageProcessor\(\)"):
        SamProcessor.from_pretrained(tmp_path / name)


def test_the_golden_checkpoint(shared: Callable[..., Path]) -> None:
    loaded = AutoProcessor.from_pretrained(shared("golden", "sam_toy", "hf_tiny256"))
    assert isinstance(loaded, SamProcessor)
    assert loaded.to_dict() == read(shared("golden", "sam_toy", "hf_tiny256", NESTED))
    assert loaded.image_processor.to_dict() == read(shared("golden", "sam_toy", "hf_tiny256", FLAT))


def test_the_page_readers_processor_by_itself(shared: Callable[..., Path]) -> None:
    toy = shared("golden", "deepseek_toy")
    assert isinstance(AutoProcessor.from_pretrained(toy, trust_remote_code=True), DeepseekOCRProcessor)
    with pytest.raises(CheckpointError, match="give the folder of a Segment Anything"):
        AutoImageProcessor.from_pretrained(toy)


def test_none_is_the_embedded_reader() -> None:
    if not EMBEDDED.is_dir():
        pytest.skip("the embedded reader is not here")
    assert isinstance(AutoProcessor.from_pretrained(), DeepseekOCRProcessor)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (FLAT, '{"image_processor_type": "CLIPImageProcessor"}', "CLIPImageProcessor"),
        (FLAT, '{"image_processor_type": "SamImageProcessor", "size": {"height": 3}}', "size="),
        (FLAT, '{"processor_class": "CLIPProcessor", "image_processor_type": "CLIPImageProcessor"}', "CLIP"),
        (FLAT, "[]", "JSON object"),
        (FLAT, "{", "not readable as JSON"),
        (NESTED, '{"processor_class": "SamProcessor"}', "no preprocessor_config.json, nor"),
        ("config.json", '{"model_type": "sam"}', "no preprocessor_config.json, nor"),
    ],
)
def test_files_that_are_not_sams(tmp_path: Path, file: str, content: str, message: str) -> None:
    (tmp_path / file).write_text(content)
    kinds = (SamProcessor, SamImageProcessor, AutoProcessor, AutoImageProcessor)
    for kind in kinds:
        with pytest.raises(CheckpointError, match=message):
            kind.from_pretrained(tmp_path)


def test_nothing_to_load(tmp_path: Path) -> None:
    for kind in (SamProcessor, AutoImageProcessor, AutoProcessor):
        with pytest.raises(CheckpointError, match="no such folder"):
            kind.from_pretrained(tmp_path / "gone")
    with pytest.raises(InputError, match="no image_processor"):
        SamProcessor.from_dict({"processor_class": "SamProcessor"})


def test_places_that_cannot_be_written(processor: SamProcessor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / FLAT).mkdir()
    with pytest.raises(OutputError, match="cannot be made a folder"):
        processor.save_pretrained(tmp_path / "file")
    with pytest.raises(OutputError, match=r"preprocessor_config\.json: cannot be written"):
        processor.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", FLAT]


def test_registered_classes_are_named_and_saved_with_their_code(custom: Any, tmp_path: Path) -> None:
    custom.Sharper.register_for_auto_class()
    custom.SharperProcessor.register_for_auto_class("AutoProcessor")
    image_processor = custom.Sharper(**SETTINGS)
    image_processor.save_pretrained(tmp_path / "image")
    assert read(tmp_path, "image", FLAT)["auto_map"] == {"AutoImageProcessor": "sharper_processing.Sharper"}
    assert (tmp_path / "image" / "sharper_processing.py").read_text() == CUSTOM
    assert custom.Sharper.from_pretrained(tmp_path / "image").to_dict() == image_processor.to_dict()
    custom.SharperProcessor(image_processor).save_pretrained(tmp_path / "both")
    assert read(tmp_path, "both", FLAT)["auto_map"] == {
        "AutoImageProcessor": "sharper_processing.Sharper",
        "AutoProcessor": "sharper_processing.SharperProcessor",
    }
    assert (tmp_path / "both" / "sharper_processing.py").is_file()
    assert "auto_map" not in SamImageProcessor().to_dict()
    with pytest.raises(CheckpointError, match="'Sharper' is not Segment Anything's"):
        AutoImageProcessor.from_pretrained(tmp_path / "image", trust_remote_code=True)
    with pytest.raises(InputError, match="auto_class='AutoModel'"):
        custom.Sharper.register_for_auto_class("AutoModel")


def test_a_class_without_a_module_cannot_be_saved(tmp_path: Path) -> None:
    class Homeless(SamImageProcessor):
        __module__ = "__main__"

    Homeless.register_for_auto_class()
    with pytest.raises(InputError, match="Homeless: registered, but defined in no module"):
        Homeless().save_pretrained(tmp_path)


def test_pushing(hub: type[Hub], processor: SamProcessor, tmp_path: Path) -> None:  # noqa: F811
    hub.files["config.json"] = b"{}"
    assert processor.push_to_hub(REPO, private=True, commit_message="Better").endswith("4567")
    assert hub.files.keys() == {"config.json", FLAT}
    assert hub.asked[-1] == "Better"
    processor.image_processor.save_pretrained(tmp_path, push_to_hub=True, repo_id=REPO, token="hf_secret")
    assert json.loads(hub.files[FLAT]) == read(tmp_path, FLAT)


def test_pushing_offline(processor: SamProcessor) -> None:
    with pytest.raises(CheckpointError, match="somebody/reader: not uploaded"):
        processor.push_to_hub(REPO)


def test_fetching(tmp_path: Path) -> None:
    Image.new("L", (4, 3)).save(tmp_path / "a.png")
    array = np.zeros((2, 2))
    path = str(tmp_path / "a.png")
    image, (again, [kept]) = SamImageProcessor().fetch_images([path, (tmp_path / "a.png", [array])])
    assert (image.size, image.mode, again.size, kept is array) == ((4, 3), "RGB", (4, 3), True)
    assert SamImageProcessor().fetch_images(path).size == (4, 3)
    with pytest.raises(InputError, match="no picture is downloaded"):
        SamImageProcessor().fetch_images("https://example.org/a.png")


def test_single_steps() -> None:
    ours = SamImageProcessor()
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)  # (H, W, C)
    assert ours.rescale(image, 0.5, data_format="channels_first").shape == (3, 2, 4)
    normal = ours.normalize(image, [1, 2, 3], [1, 2, 4], input_data_format="channels_last")
    assert np.array_equal(normal[0, 1], np.array([2, 1, 0.5], np.float32))
    assert ours.center_crop(image, {"height": 2, "width": 2}).tolist() == image[:, 1:3].tolist()
    padded = ours.center_crop(image, {"height": 4, "width": 4})
    assert padded[1:3].tolist() == image.tolist()
    assert padded.sum() == image.sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ours, image: ours.rescale([1], 2), "image: a list; give an array"),
        (lambda ours, image: ours.rescale(image, 2, data_format="first"), "data_format='first'"),
        (lambda ours, image: ours.normalize(image, [1, 2], 1), "mean: 2 numbers for 3 channels"),
        (lambda ours, image: ours.normalize(image[0], 0, 1), r"shape \(5, 3\)"),
        (lambda ours, image: ours.center_crop(image, {"height": 3}), "give height and width"),
    ],
)
def test_steps_that_cannot_be(call: Callable[[SamImageProcessor, np.ndarray], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(SamImageProcessor(), np.ones((4, 5, 3)))
