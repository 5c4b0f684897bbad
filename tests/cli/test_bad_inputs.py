"""What cannot be read costs one line and the exit code, never another input, and leaves no half-written file."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_read import picture, run

from folioscope.storage import INDEX
from scripted import scripted_checkpoint, sheets
from test_pages_pdf import BLANK, pdf


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted_checkpoint(tmp_path_factory.mktemp("model"))


def png(size: tuple[int, int], noise: bool = False) -> bytes:
    stream = io.BytesIO()
    (Image.effect_noise(size, 50) if noise else Image.new("L", size)).save(stream, "PNG")
    return stream.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A small picture whose header claims another size."""
    content = png((8, 8))
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + content[24:29]
    return content[:12] + header + crc32(header).to_bytes(4, "big") + content[33:]


ENCRYPTED = f"/Encrypt<</Filter/Standard/V 1/R 2/O({'a' * 32})/U({'b' * 32})/P -4>>/ID[<00><00>]"

BAD = {
    "text.png": (b"no picture at all", "no picture header"),
    "cut.png": (png((200, 200), noise=True)[:9000], "broken or cut short"),
    "nothing.png": (b"", "is empty (0 bytes)"),
    "flat.png": (png_that_says(0, 10), "no picture header"),
    "vast.png": (png_that_says(35_000, 35_000), "35000 x 35000 pixels, from 1 to 200,000,000 can be read"),
    "broken.pdf": (b"%PDF-1.7\n1 0 obj\n<<", "the PDF is broken or has no pages"),
    "none.pdf": (pdf(kids="", count=0), "the PDF is broken or has no pages"),
    "missing.pdf": (pdf(kids="9 0 R", count=1), "page 1 cannot be drawn"),
    "locked.pdf": (pdf(BLANK, trailer=ENCRYPTED), "is encrypted; give its password"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_input_is_one_line(name: str, tmp_path: Path, model: Path) -> None:
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    good, out = picture(tmp_path / "good.jpg"), tmp_path / "out"
    result = run(tmp_path / name, good, "--model", model, "-o", out, "--format", "md")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"folioscope: error: {tmp_path / name}: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in out.iterdir()) == ["good.md", "good_images"]


def test_a_file_that_is_not_there(tmp_path: Path, model: Path) -> None:
    result = run(tmp_path / "lost.png", picture(tmp_path / "good.png"), "--model", model)
    assert (result.exit_code, result.stdout.startswith("# Hello")) == (1, True)
    assert result.stderr.startswith(f"folioscope: error: {tmp_path / 'lost.png'}: no such file")
    assert run(tmp_path / "lost.png", "--model", "no/such-model").stderr.count("\n") == 1


def test_a_lying_page_tree_costs_its_page(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "two.pdf"
    path.write_bytes(sheets(1, lost=1))
    result = run(path, "--model", model, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"folioscope: error: {path}: page 2 cannot be drawn")
    assert result.stderr.count("\n") == 1
    pages = json.loads((tmp_path / "out" / "two.json").read_text())["pages"]
    assert [page["status"] for page in pages] == ["ok", "failed"]


def test_nothing_is_written_of_a_document_without_a_page(tmp_path: Path) -> None:
    """The prompt leaves no room on any page, so there are results, but nothing in them."""
    model = scripted_checkpoint(tmp_path, views=(1024,))
    result = run(picture(tmp_path / "a.png"), "--model", model, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout, (tmp_path / "out").exists()) == (1, "", False)
    assert result.stderr.startswith(f"folioscope: error: {tmp_path / 'a.png'}: prompt of 1061 tokens")


def test_pages_beyond_the_end(tmp_path: Path, model: Path) -> None:
    good = picture(tmp_path / "good.png")
    result = run(good, "--model", model, "--pages", "2")
    assert result.stderr.startswith(f"folioscope: error: {good}: pages=")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_place_that_cannot_be_written(tmp_path: Path, model: Path) -> None:
    good, blocked = picture(tmp_path / "good.png"), tmp_path / "file" / "out"
    blocked.parent.write_text("not a folder")
    result = run(good, "--model", model, "-o", blocked)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"folioscope: error: {good}: {blocked}: cannot be written")
    assert result.stderr.count("\n") == 1


# Checkpoints


def missing_shard(folder: Path) -> None:
    shard = "model-00002-of-00002.safetensors"
    (folder / INDEX).write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    (folder / "model.safetensors").unlink()


def change(folder: Path, key: str, tensor: torch.Tensor) -> None:
    file = folder / "model.safetensors"
    save_file({**load_file(file), key: tensor}, file)


def wrong_shape(folder: Path) -> None:
    change(folder, "model.norm.weight", torch.ones(63))


def with_nan(folder: Path) -> None:
    change(folder, "model.norm.weight", torch.full((64,), torch.nan))


class Malicious:
    """Unpickled, it would make a folder beside the checkpoint."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.place),)


def malicious_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Malicious(folder / "run")}, folder / "pytorch_model.bin", pickle_module=pickle)


def no_image_token(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text.replace("<image>", "<imago>"), encoding="utf-8")


def too_many_tokens(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    last = content["added_tokens"][-1]
    content["added_tokens"] += [{**last, "id": last["id"] + n, "content": f"more {n}"} for n in range(1, 40)]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing_shard, "1 of 1 weight files missing (first: model-00002-of-00002.safetensors)"),
        (wrong_shape, "1 unfit (model.norm.weight (63,) instead of (64,))"),
        (with_nan, "1 with NaN or infinity (model.norm.weight)"),
        (malicious_pickle, "pytorch_model.bin"),
        (no_image_token, "tokenizer.json: has no <image> token"),
        (too_many_tokens, "tokens but its model 320"),
    ],
)
def test_a_damaged_checkpoint_is_one_line(
    damage: Callable[[Path], None], message: str, model: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(model, folder)
    damage(folder)
    result = run(picture(tmp_path / "good.png"), "--model", folder, "-o", out)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"folioscope: error: {folder}")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "run").exists()
    assert not out.exists()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    result = run(picture(tmp_path / "good.png"), "--model", tmp_path / "lost")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"folioscope: error: {tmp_path / 'lost'}: no such folder")
