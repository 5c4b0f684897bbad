"""What cannot be cut out costs one line and the exit code, and leaves nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from test_segment import SIZE, picture, run

from folioscope.weights import save_sam
from random_sam import random_sam


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam")
    save_sam(random_sam(), folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing is asked for: give --point"),
        (["--point", "3"], '--point "3": expected X,Y[,LABEL]'),
        (["--point", "3,4,2"], '--point "3,4,2": expected X,Y[,LABEL], in pixels; LABEL is 1 on the object'),
        (["--point", "3,nan"], '--point "3,nan": expected'),
        (["--point", "3;4"], '--point "3;4": expected'),
        (["--box", "1,2,3"], '--box "1,2,3": expected X1,Y1,X2,Y2'),
        (["--box", "1,2,3,4", "--box", "1,2,3,4", "--point", "1,2"], "--box: several boxes are several objects"),
        (["--object", " "], '--object " ": is empty'),
        (["--object", "1,2,3,4 5,6,7,8"], '--object "1,2,3,4 5,6,7,8": an object has one box'),
        (["--object", "1,2,3,4,5"], '--point "1,2,3,4,5": expected'),
        (["--all", "--point", "3,4"], "--all: needs no prompt"),
        (["--all", "--points-per-side", "0"], "points_per_side=0: expected at least 1"),
        (["--point", "3,4", "--points-per-side", "9"], "--points-per-side: belongs to --all"),
        (["--point", "3,4", "--format", "svg", "-o", "out"], "format 'svg': there is no such format; choose from png"),
        (["--point", "3,4", "--format", "png"], '--format "png": needs -o DIR'),
        (["--point", "3,4", "--device", "gpu"], "device 'gpu': not on this machine"),
        (["--point", "3,4", "--dtype", "int3"], "dtype 'int3': there is no such dtype"),
    ],
)
def test_wrong_commands_are_one_line_and_load_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run(picture(tmp_path / "photo.png"), *arguments, "--model", "no/such-model")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"folioscope: error: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--point", "90,4"], "points: (90, 4) is outside the image of 90 x 70 pixels"),
        (["--object", "1,1", "--object", "-1,1"], "points: (-1, 1) is outside"),
        (["--box", "30,2,20,4"], "box: (30, 2, 20, 4): expected x1 < x2"),
        (["--box", "1,2,99,4"], "box: (1, 2, 99, 4): reaches beyond the image"),
        (["--mask", "lost.png"], "lost.png: No such file"),
        (["--object", "1,1 4O,6"], "4O,6: No such file"),
        (["--mask", "small.png"], "mask: small.png: expected the image's size, 90 x 70 pixels, given 9 x 7"),
        (["--mask", "red.png"], "mask: red.png: a picture in colour; expected greys"),
    ],
)
def test_a_prompt_that_does_not_fit_the_image(
    tmp_path: Path, model: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo.png")
    Image.new("L", (9, 7)).save("small.png")
    Image.new("RGB", SIZE, "red").save("red.png")
    result = run("photo.png", *arguments, "--model", model, "-o", "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"folioscope: error: photo.png: {message}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_one_bad_image_costs_only_itself(tmp_path: Path, model: Path) -> None:
    good, bad = picture(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    result = run(bad, good, tmp_path / "lost.png", "--point", "3,4", "--model", model, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"image_1_object_0_result_{number}.png" for number in range(3)),
        "image_1_overlay.jpg",
        "masks.json",
    ]
    lost, broken = result.stderr.splitlines()
    assert lost.startswith(f"folioscope: error: {tmp_path / 'lost.png'}: no such file")
    assert broken.startswith(f"folioscope: error: {bad}: not a PDF, and has no picture header")


@pytest.mark.parametrize("name", ["masks.json", "image_0_object_7_result_0.png", "image_0_overlay.jpg"])
def test_what_is_there_is_refused_before_the_model_is_loaded(tmp_path: Path, model: Path, name: str) -> None:
    photo, out = picture(tmp_path / "photo.png"), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    result = run(photo, "--point", "3,4", "--model", "no/such-model", "-o", out)
    message = f"folioscope: error: {out / name}: is there already; --force overwrites it\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", message)
    assert run(photo, "--point", "3,4", "--model", model, "-o", out, "--force").exit_code == 0


def test_a_checkpoint_that_is_none(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png")
    (tmp_path / "sam.pth").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    for model in (tmp_path / "sam.pth", tmp_path / "lost.pth", photo):
        result = run(photo, "--point", "3,4", "--model", model, "-o", tmp_path / "out")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"folioscope: error: {model}: ")
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
