"""`folioscope read --cut`: what was read is cut out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_read import picture, run

from folioscope.segment import Segmenter
from folioscope.weights import save_sam
from random_sam import random_sam
from scripted import scripted_checkpoint


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The reader finds a title and an image; the segmenter is random."""
    reader, segmenter = tmp_path_factory.mktemp("reader"), tmp_path_factory.mktemp("segmenter")
    save_sam(random_sam(), segmenter)
    return ["--model", scripted_checkpoint(reader), "--segmenter", segmenter]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "page.png")
    return tmp_path / "page.png"


def test_regions_are_cut_out_beside_the_figures(page: Path, models: list[object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(page, *models, "-o", out, "--format", "md", "--cut", "figure", "--cut", "title", "--cut", "figure")
    names = ["page.md", *(f"page_images/{name}" for name in ("1_0.jpg", "1_figure_0.png", "1_title_0.png"))]
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "".join(f"{out / name}\n" for name in names)
    with Image.open(page) as image, Image.open(out / "page_images" / "1_figure_0.png") as cut:
        scene = Segmenter(random_sam()).embed(image)
        masks = Segmenter(random_sam()).predict(scene, box=[0, 30, 40, 60])
        best = max(masks, key=lambda mask: mask.score)
        assert cut.mode == "RGBA"
        assert abs((np.array(cut)[..., 3] > 0).sum() - best.area) <= 2
        x1, y1, x2, y2 = best.box or (0, 0, 0, 0)
        assert (np.array(cut)[..., :3] == np.array(image)[y1:y2, x1:x2]).all()


def test_the_models_own_label_and_one_that_is_not_there(page: Path, models: list[object], tmp_path: Path) -> None:
    result = run(page, *models, "-o", tmp_path / "out", "--format", "md", "--cut", "image", "--cut", "../table")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == str(tmp_path / "out" / "page_images" / "1_image_0.png")
    warning = f"folioscope: warning: {page}: no region '../table' to cut out; there are: image, title\n"
    assert result.stderr == warning


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cut", "figure"], "--cut: needs -o DIR"),
        (["--segmenter", "x", "-o", "out"], "--segmenter: is what --cut cuts with"),
    ],
)
def test_wrong_commands(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run(picture(tmp_path / "page.png"), "--model", "no/such-model", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"folioscope: error: {message}")


def test_a_segmenter_that_is_not_there_costs_nothing(page: Path, models: list[object], tmp_path: Path) -> None:
    result = run(page, *models[:2], "--segmenter", tmp_path / "none", "-o", tmp_path / "out", "--cut", "figure")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"folioscope: error: {tmp_path / 'none'}: no such folder")
    assert not (tmp_path / "out").exists()
