"""`folioscope segment`: prompts on the command line, files where they are wanted, JSON on stdout."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from folioscope.cli import app
from folioscope.cli.segment import FORMATS
from folioscope.docstrings import described
from folioscope.export.mask_files import IMAGE_FORMATS, RUN_FORMATS
from folioscope.masks import EverythingOptions
from folioscope.segment import Segmenter
from folioscope.weights import save_sam
from random_sam import random_sam

SIZE = (90, 70)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam")
    save_sam(random_sam(), folder)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return picture(tmp_path / "photo.png")


def picture(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(app, ["segment", *map(str, arguments)], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def objects(result: Result, image: int = 0) -> list[dict]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["images"][image]["objects"]


def test_without_a_folder_json_goes_to_stdout(photo: Path, model: Path) -> None:
    (found,) = objects(run(photo, "--point", "30,40", "--point", "10,5,0", "--box", "5,2,60,50.5", "--model", model))
    prompt = {"points": [[30, 40], [10, 5]], "labels": [1, 0], "box": [5, 2, 60, 50.5], "mask": False}
    assert found["prompt"] == prompt
    expected = Segmenter(random_sam()).predict(
        Segmenter(random_sam()).embed(photo), [[30, 40], [10, 5]], [1, 0], [5, 2, 60, 50.5]
    )
    assert [result["score"] for result in found["results"]] == pytest.approx([mask.score for mask in expected])
    assert [result["area"] for result in found["results"]] == [mask.area for mask in expected]


def test_files_go_to_a_folder_and_their_paths_to_stdout(photo: Path, model: Path, tmp_path: Path) -> None:
    other, out = picture(tmp_path / "other.png", 1), tmp_path / "new" / "out"
    result = run(photo, other, "--point", "30,40", "--object", "60,20", "--model", model, "-o", out)
    names = [
        *(f"image_{i}_object_{n}_result_{k}.png" for i in range(1) for n in range(2) for k in range(3)),
        "image_0_overlay.jpg",
        *(f"image_1_object_{n}_result_{k}.png" for n in range(2) for k in range(3)),
        "image_1_overlay.jpg",
        "masks.json",
    ]
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [str(out / name) for name in names]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    content = json.loads((out / "masks.json").read_text())
    assert [image["source"] for image in content["images"]] == [str(photo), str(other)]
    with Image.open(out / "image_1_object_1_result_2.png") as mask:
        assert (np.array(mask) > 0).sum() == content["images"][1]["objects"][1]["results"][2]["area"]


def test_every_format(photo: Path, model: Path, tmp_path: Path) -> None:
    every = ",".join([*IMAGE_FORMATS, *RUN_FORMATS])
    result = run(photo, "--box", "5,5,60,60", "--model", model, "-o", tmp_path / "out", "--format", every)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"masks.json", "coco.json", "image_0_polygons.geojson", "image_0_object_0_cutout.png"} < names
    assert len(result.stdout.splitlines()) == len(names) == 3 + 5


def test_several_boxes_are_several_objects(photo: Path, model: Path) -> None:
    found = objects(run(photo, "--box", "1,1,20,20", "--box", "30,30,60,60", "--model", model, "--single"))
    assert [entry["prompt"]["box"] for entry in found] == [[1, 1, 20, 20], [30, 30, 60, 60]]
    assert [len(entry["results"]) for entry in found] == [1, 1]


def test_objects_have_prompts_of_their_own(photo: Path, model: Path, tmp_path: Path) -> None:
    rough = tmp_path / "rough.png"
    Image.new("1", SIZE, 1).save(rough)
    words = [f"3,4,0 10,10,80,60 7.5,8 {rough}", "50,60"]
    found = objects(run(photo, "--object", words[0], "--object", words[1], "--model", model))
    assert [entry["prompt"] for entry in found] == [
        {"points": [[3, 4], [7.5, 8]], "labels": [0, 1], "box": [10, 10, 80, 60], "mask": True},
        {"points": [[50, 60]], "labels": [1], "box": None, "mask": False},
    ]


def test_a_mask_of_an_earlier_run_is_a_prompt(photo: Path, model: Path, tmp_path: Path) -> None:
    assert run(photo, "--point", "30,40", "--model", model, "-o", tmp_path / "out").exit_code == 0
    mask = tmp_path / "out" / "image_0_object_0_result_1.png"
    (found,) = objects(run(photo, "--mask", mask, "--model", model))
    assert found["prompt"] == {"points": [], "labels": [], "box": None, "mask": True}
    (plain,) = objects(run(photo, "--point", "30,40", "--model", model))
    (both,) = objects(run(photo, "--point", "30,40", "--mask", mask, "--model", model))
    assert both["results"] != plain["results"]


def test_everything(photo: Path, model: Path, tmp_path: Path) -> None:
    grid = ("--points-per-side", 3, "--pred-iou-thresh", 0, "--stability-score-thresh", 0, "--box-nms-thresh", 1)
    result = run(photo, "--all", *grid, "--model", model, "-o", tmp_path / "out", "--format", "png,json,coco")
    assert result.exit_code == 0
    (image,) = json.loads((tmp_path / "out" / "masks.json").read_text())["images"]
    assert len(image["objects"]) == 27
    assert all(entry["results"][0]["crop"] == [0, 0, *SIZE] for entry in image["objects"])
    assert (tmp_path / "out" / "image_0_object_26_result_0.png").exists()
    annotation = json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"][0]
    assert {"predicted_iou", "stability_score", "point_coords", "crop_box"} < annotation.keys()


def test_everything_may_be_nothing(photo: Path, model: Path, tmp_path: Path) -> None:
    result = run(
        photo, "--all", "--pred-iou-thresh", 99, "--points-per-side", 2, "--model", model, "-o", tmp_path / "o"
    )
    assert [Path(line).name for line in result.stdout.splitlines()] == ["image_0_overlay.jpg", "masks.json"]
    assert result.stderr.startswith(f"folioscope: warning: {photo}: no mask is good enough; lower --pred-iou-thresh")
    assert json.loads((tmp_path / "o" / "masks.json").read_text())["images"][0]["objects"] == []


def test_embeddings_are_kept(photo: Path, model: Path, tmp_path: Path) -> None:
    asked = (photo, "--point", "30,40", "--model", model)
    runs = [objects(run(*asked, *keep)) for keep in ((), ("--embeddings", tmp_path / "kept")) * 2]
    scores = [[result["score"] for result in found["results"]] for (found,) in runs]
    assert all(some == pytest.approx(scores[0]) for some in scores)
    (file,) = (tmp_path / "kept").iterdir()
    assert re.fullmatch(r"photo-[0-9a-f]{16}\.safetensors", file.name)


def test_stdin_and_pdf(photo: Path, model: Path, tmp_path: Path) -> None:
    expected = objects(run(photo, "--point", "3,4", "--model", model))
    assert objects(run("-", "--point", "3,4", "--model", model, stdin=photo.read_bytes())) == expected
    with Image.open(photo) as image:
        image.save(tmp_path / "photo.pdf")
    assert len(objects(run(tmp_path / "photo.pdf", "--point", "3,4", "--model", model))) == 1


def test_help_names_every_choice() -> None:
    text = re.sub(r"\s+", " ", run("--help").stdout)
    for name in (*IMAGE_FORMATS, *RUN_FORMATS):
        assert re.search(rf"\b{name}\b", text)
    for field in fields(EverythingOptions):
        flag = f"--{field.name.replace('_', '-')} "
        assert (flag in text, described(EverythingOptions, field.name) in text) == (
            (True, True) if field.name != "point_grids" else (False, False)
        )
    assert set(FORMATS.split(",")) < {*IMAGE_FORMATS, *RUN_FORMATS}
