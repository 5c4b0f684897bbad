"""What a browser needs to cut out by itself: given away when the operator says so, and nothing more than that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from folioscope.export.onnx import DECODER
from folioscope.read import Reader
from folioscope.segment import Scene, Segmenter
from folioscope.serve.browser_decoder import DIST, RUNTIME, check_folder, runtime_of
from folioscope.serve.options import ServeOptions
from folioscope.types import InputError
from live_server import KEY, error_of, picture, served
from random_sam import random_sam

HEADERS = {"Authorization": f"Bearer {KEY}"}


def filled(folder: Path, dist: str = "") -> Path:
    """A folder with files of the right names; what they hold is the browser's business."""
    (folder / dist).mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        (folder / dist / name).write_text(f"// {name}")
    (folder / DECODER).write_bytes(b"onnx")
    (folder / "image_encoder.onnx").write_bytes(b"not for browsers")
    return folder


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(random_sam())


@pytest.fixture(scope="module")
def address(scripted: Reader, segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = filled(tmp_path_factory.mktemp("decoder"), "dist")
    options = ServeOptions(data=tmp_path_factory.mktemp("data"), api_key=KEY, browser_decoder=folder)
    with served(scripted, options, segmenter=segmenter) as address:
        yield address


def test_the_worker_alone_may_run_webassembly(address: str, server: str) -> None:
    worker = httpx2.get(f"{address}/page/decoder/worker.js")
    assert worker.status_code == 200
    assert "script-src 'self' 'wasm-unsafe-eval';" in worker.headers["content-security-policy"]
    for page in (address, server):
        assert "wasm" not in httpx2.get(page).headers["content-security-policy"]
    assert httpx2.get(f"{server}/page/decoder/worker.js").status_code == 404


def test_the_runtime_is_given_by_name_and_not_twice(address: str) -> None:
    for name, kind in RUNTIME.items():
        answer = httpx2.get(f"{address}/page/decoder/{name}")
        assert (answer.text, answer.headers["content-type"].split(";")[0]) == (f"// {name}", kind)
        again = httpx2.get(f"{address}/page/decoder/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304


@pytest.mark.parametrize(
    "name", ["", "image_encoder.onnx", DECODER, "..%2fimage_encoder.onnx", "%2fetc%2fpasswd", "x" * 999]
)
def test_nothing_else_of_the_folder_is(address: str, name: str) -> None:
    assert httpx2.get(f"{address}/page/decoder/{name}").status_code == 404


def test_the_decoder_is_for_who_has_the_key(address: str, server: str) -> None:
    assert httpx2.get(f"{address}/v1/segment/decoder", headers=HEADERS).content == b"onnx"
    assert httpx2.get(f"{address}/ready").json()["browser_decoder"] is True
    assert error_of(httpx2.get(f"{address}/v1/segment/decoder"))[:2] == (401, "invalid_api_key")
    assert error_of(httpx2.get(f"{server}/v1/segment/decoder"))[:2] == (404, "no_decoder")
    assert httpx2.get(f"{server}/ready").json()["browser_decoder"] is False


def test_an_embedding_is_had_by_its_id(address: str, segmenter: Segmenter, tmp_path: Path) -> None:
    photo = picture(90, 60)
    with httpx2.Client(base_url=address, headers=HEADERS) as client:
        name = client.post("/v1/segment/embeddings", files={"file": photo}).json()["id"]
        answer = client.get(f"/v1/segment/embeddings/{name}")
        (tmp_path / "scene.safetensors").write_bytes(answer.content)
        assert error_of(client.get("/v1/segment/embeddings/other"))[:2] == (404, "no_scene")
    scene = Scene.load(tmp_path / "scene.safetensors")
    assert scene.frame.size == (90, 60)
    assert scene.embedding.equal(segmenter.embed(photo).embedding)


@pytest.mark.parametrize("dist", DIST)
def test_where_the_package_may_lie(dist: str, tmp_path: Path) -> None:
    assert runtime_of(filled(tmp_path, dist)) == {name: tmp_path / dist / name for name in RUNTIME}


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    filled(tmp_path / "half", "dist")
    (tmp_path / "half" / "dist" / "ort-wasm-simd-threaded.wasm").unlink()
    with pytest.raises(InputError, match=r"half: has no ort-wasm-simd-threaded\.wasm.*npm install --prefix"):
        check_folder(tmp_path / "half")
    with pytest.raises(InputError, match=r"has no mask_decoder\.onnx.*export sam --decoder-only --onnx"):
        check_folder(tmp_path)
