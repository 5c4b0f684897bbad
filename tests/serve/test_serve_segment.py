"""Segmenting over HTTP: what the Segmenter gives, by id or by picture, in every form."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from folioscope.export.masks import coco_rle
from folioscope.read import Reader
from folioscope.segment import EMBEDDED, Segmenter
from folioscope.serve.options import ServeOptions
from live_server import data_url, error_of, metric, picture, process, served
from random_sam import random_sam
from scripted import scripted_checkpoint

EVERYTHING = {"points_per_side": 3, "pred_iou_thresh": 0, "stability_score_thresh": 0}


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(random_sam())


@pytest.fixture(scope="module")
def address(scripted: Reader, segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = ServeOptions(data=tmp_path_factory.mktemp("data"))
    with served(scripted, options, segmenter=segmenter) as address:
        yield address


@pytest.fixture(scope="module")
def photo() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def embed(address: str, photo: bytes) -> str:
    answer = httpx2.post(f"{address}/v1/segment/embeddings", files={"file": photo}, timeout=60).json()
    assert answer["size"] == [90, 60]
    return answer["id"]


def cut(address: str, **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{address}/v1/segment", json=fields, timeout=60)


def test_clicks_on_an_embedded_picture(address: str, segmenter: Segmenter, photo: bytes) -> None:
    answer = cut(address, scene=embed(address, photo), points=[[30, 20], [50, 40]], labels=[1, 0]).json()
    expected = segmenter.predict(segmenter.embed(photo), points=[[30, 20], [50, 40]], labels=[1, 0])
    (found,) = answer["objects"]
    assert [mask["rle"] for mask in found["masks"]] == [coco_rle(mask) for mask in expected]
    assert [mask["score"] for mask in found["masks"]] == pytest.approx([mask.score for mask in expected])
    assert found["best"] == max(range(3), key=lambda place: expected[place].score)


def test_the_best_alone_is_the_best_of_all(address: str, photo: bytes) -> None:
    fields: dict[str, Any] = {
        "scene": embed(address, photo),
        "boxes": [[0, 0, 40, 40], [40, 10, 90, 60], [1, 2, 30, 50]],
    }
    alone = cut(address, **fields, only_best=True).json()["objects"]
    every = cut(address, **fields).json()["objects"]
    assert alone == [{"best": 0, "masks": [found["masks"][found["best"]]]} for found in every]


def test_a_form_is_as_good(address: str, photo: bytes) -> None:
    fields = {"points": "[[30, 20]]", "box": "[10, 10, 80, 50]", "multimask": "false"}
    form = httpx2.post(f"{address}/v1/segment", files={"file": photo}, data=fields).json()
    plain = cut(address, scene=form["scene"], points=[[30, 20]], box=[10, 10, 80, 50], multimask=False).json()
    assert form["objects"] == plain["objects"]
    assert len(form["objects"][0]["masks"]) == 1


def test_masks_come_as_pictures_and_outlines(address: str, segmenter: Segmenter, photo: bytes) -> None:
    scene = embed(address, photo)
    expected = segmenter.predict(segmenter.embed(photo), box=[10, 10, 80, 50], multimask=False)[0]
    fields = {"scene": scene, "box": [10, 10, 80, 50], "multimask": False}
    as_png = cut(address, **fields, format="png").json()["objects"][0]["masks"][0]["png"]
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(as_png)))) == 255 * expected.array).all()
    assert cut(address, **fields, format="polygons").json()["objects"][0]["masks"][0]["polygons"]
    alone = httpx2.post(f"{address}/v1/segment", json=fields, headers={"Accept": "image/png"})
    assert (alone.headers["content-type"], alone.content) == ("image/png", base64.b64decode(as_png))


def test_several_boxes_are_several_objects_and_a_mask_is_a_prompt(address: str, photo: bytes) -> None:
    scene = embed(address, photo)
    boxes = cut(address, scene=scene, boxes=[[0, 0, 40, 40], [40, 10, 90, 60]]).json()["objects"]
    assert len(boxes) == 2
    rough = data_url(picture(90, 60, "white"))
    masked = cut(address, scene=scene, mask=rough, points=[[30, 20]]).json()["objects"]
    assert masked != cut(address, scene=scene, points=[[30, 20]]).json()["objects"]


def test_everything(address: str, segmenter: Segmenter, photo: bytes) -> None:
    by_file = httpx2.post(f"{address}/v1/segment/all", json={"file": data_url(photo), **EVERYTHING}).json()
    by_scene = httpx2.post(f"{address}/v1/segment/all", json={"scene": embed(address, photo), **EVERYTHING}).json()
    assert by_file["masks"]
    assert [mask["rle"] for mask in by_file["masks"]] == [mask["rle"] for mask in by_scene["masks"]]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 400, "no_file"),
        ({"scene": "nope", "points": [[1, 1]]}, 404, "no_scene"),
        ({"scene": None, "file": "!", "points": [[1, 1]]}, 400, "invalid_file"),
        ({"file": data_url(picture()), "scene": "x"}, 400, "invalid_field"),
        ({"file": data_url(picture())}, 400, "no_prompt"),
        ({"file": data_url(picture()), "points": [[400, 1]]}, 400, "invalid_input"),
        ({"file": data_url(picture()), "points": []}, 400, "invalid_input"),
        ({"file": data_url(picture()), "points": [[1]]}, 400, "invalid_field"),
        ({"file": data_url(picture()), "points": "[[1, "}, 400, "invalid_field"),
        ({"file": data_url(picture()), "box": [9, 9, 1, 1]}, 400, "invalid_input"),
        ({"file": data_url(picture()), "boxes": [[1, 1, 9, 9]], "points": [[1, 1]]}, 400, "invalid_field"),
        ({"file": data_url(picture()), "mask": data_url(picture(9, 9))}, 400, "invalid_input"),
        ({"file": data_url(picture()), "points": [[1, 1]] * 1000}, 400, "invalid_field"),
    ],
)
def test_refusals(address: str, fields: dict[str, Any], status: int, code: str) -> None:
    assert error_of(cut(address, **fields))[:2] == (status, code)


def test_a_server_without_a_segmenter_says_so(server: str) -> None:
    for route in ("segment", "segment/embeddings", "segment/all"):
        assert error_of(httpx2.post(f"{server}/v1/{route}", files={"file": picture()}))[:2] == (404, "no_segmenter")


@pytest.mark.skipif(not EMBEDDED.is_dir(), reason="no segmenter comes with this installation")
def test_processes_find_one_anothers_scenes(photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    model = scripted_checkpoint(tmp_path / "model")
    with process(model, tmp_path / "data", "--workers", "2") as (running, address):
        scene = embed(address, photo)
        answers = [cut(address, scene=scene, points=[[30, 20]]) for _ in range(8)]
        assert [answer.status_code for answer in answers] == [200] * 8
        assert len({answer.text for answer in answers}) == 1
        assert len(list((tmp_path / "data" / "scenes").iterdir())) == 1
        assert error_of(cut(address, scene="../../model/../x" + "y" * 6, points=[[3, 3]]))[:2] == (404, "no_scene")
        running.terminate()
        running.wait(timeout=60)


def test_scenes_are_forgotten(scripted: Reader, segmenter: Segmenter, photo: bytes, tmp_path: Path) -> None:
    one = segmenter.embed(photo).embedding
    room = 1.5e-6 * one.numel() * one.element_size()
    with served(scripted, ServeOptions(data=tmp_path, scene_megabytes=room), segmenter=segmenter) as address:
        first, second = embed(address, photo), embed(address, photo)
        assert cut(address, scene=second, points=[[3, 3]]).status_code == 200
        assert error_of(cut(address, scene=first, points=[[3, 3]]))[:2] == (404, "no_scene")
        assert 0 < metric(address, "folioscope_scene_bytes") < 1e6 * room
    with served(scripted, ServeOptions(data=tmp_path, scene_minutes=1e-4), segmenter=segmenter) as address:
        scene = embed(address, photo)
        time.sleep(0.05)
        assert error_of(cut(address, scene=scene, points=[[3, 3]]))[:2] == (404, "no_scene")
