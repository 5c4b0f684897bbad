"""Published DeepSeek-OCR checkpoints go in and come out as they were; what does not fit is refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from folioscope.config import ClipConfig, DecoderConfig, OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.types import CheckpointError
from folioscope.weights import OCR_NAMES, load_ocr, save_ocr, to_ours, to_published

PATCHES = "model.vision_model.embeddings.patch_embedding.weight"
Change = Callable[[dict[str, Tensor]], None]


@pytest.fixture(scope="module")
def toy(shared: Callable[..., Path]) -> Path:
    return shared("golden", "deepseek_toy")


@pytest.fixture
def changed(toy: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of the toy checkpoint after a change to its tensors."""

    def copy(change: Change) -> Path:
        tensors = load_file(toy / "model.safetensors")
        change(tensors)
        save_file(tensors, tmp_path / "model.safetensors")
        shutil.copy(toy / "config.json", tmp_path)
        return tmp_path

    return copy


def stored(folder: Path) -> dict[str, Tensor]:
    return {key: tensor for file in folder.glob("*.safetensors") for key, tensor in load_file(file).items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for key, tensor in left.items():
        assert tensor.dtype == right[key].dtype
        assert tensor.equal(right[key]), key


def test_the_full_size_has_the_published_keys() -> None:
    with torch.device("meta"):
        tensors = DeepseekOcr(OcrConfig()).state_dict()
    shapes = {to_published(name): tensor.shape for name, tensor in tensors.items()} | {PATCHES: (1024, 3, 14, 14)}
    assert len(shapes) == 2_710
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 3_336_106_240
    assert shapes["model.vision_model.embeddings.position_embedding.weight"] == (257, 1024)
    assert shapes["model.layers.11.mlp.experts.63.down_proj.weight"] == (1280, 896)
    assert shapes["model.sam_model.net_2.weight"] == (512, 256, 3, 3)
    assert shapes["model.view_seperator"] == (1280,)


def test_every_name_returns(toy: Path) -> None:
    for key in stored(toy):
        assert to_published(to_ours(key) or "") == key
    assert len({ours for _, ours in OCR_NAMES}) == len(OCR_NAMES) == 15


def test_names_that_are_not_ours() -> None:
    assert to_ours("model.embed_images.weight") is None
    assert to_ours("decoder.norm.weight") is None
    with pytest.raises(KeyError):
        to_published("model.norm.weight")


def test_values_arrive_under_our_names(toy: Path) -> None:
    model, carried = load_ocr(toy)
    published = stored(toy)
    assert model.encoder.clip.pos_embed.equal(published["model.vision_model.embeddings.position_embedding.weight"])
    assert model.encoder.compressor[1].weight.equal(published["model.sam_model.net_3.weight"])
    assert model.decoder.head.weight.equal(published["lm_head.weight"])
    assert list(carried) == ["unused.clip_patch_embed.weight"]
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("max_shard_size", [10_000_000, 500_000, 1])
def test_what_was_loaded_is_saved(toy: Path, tmp_path: Path, max_shard_size: int) -> None:
    save_ocr(*load_ocr(toy), tmp_path, max_shard_size=max_shard_size)
    assert_same(stored(tmp_path), stored(toy))
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads((toy / "config.json").read_text())
    model, carried = load_ocr(tmp_path)
    assert_same({**model.state_dict(), **carried}, {to_ours(key) or "": value for key, value in stored(toy).items()})


def test_saving_over_the_checkpoint_that_is_mapped(changed: Callable[[Change], Path], toy: Path) -> None:
    folder = changed(lambda tensors: None)
    save_ocr(*load_ocr(folder), folder)
    assert_same(stored(folder), stored(toy))


def test_pytorch_files_are_read(toy: Path, tmp_path: Path) -> None:
    shutil.copy(toy / "config.json", tmp_path)
    torch.save(stored(toy), tmp_path / "pytorch_model.bin")
    left, right = load_ocr(tmp_path), load_ocr(toy)
    assert_same({**left[0].state_dict(), **left[1]}, {**right[0].state_dict(), **right[1]})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_is_that_of_every_weight(toy: Path, dtype: torch.dtype) -> None:
    model, carried = load_ocr(toy, dtype=dtype)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {dtype}
    assert carried["unused.clip_patch_embed.weight"].dtype == torch.float32
    assert model.decoder.norm.weight.equal(stored(toy)["model.norm.weight"].to(dtype))


def test_the_stored_dtype_is_kept(changed: Callable[[Change], Path]) -> None:
    folder = changed(lambda tensors: tensors.update({key: value.bfloat16() for key, value in tensors.items()}))
    assert load_ocr(folder)[0].dtype == torch.bfloat16


def test_a_buffer_of_other_savers_is_dropped(changed: Callable[[Change], Path], toy: Path, tmp_path: Path) -> None:
    key = "model.vision_model.embeddings.position_ids"
    folder = changed(lambda tensors: tensors.update({key: torch.arange(257)[None]}))
    save_ocr(*load_ocr(folder), tmp_path / "out")
    assert stored(tmp_path / "out").keys() == stored(toy).keys()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.pop("model.norm.weight"), r"tensors 1 missing \(model\.norm\.weight\); use config"),
        (lambda t: [t.pop(key) for key in list(t) if ".experts." in key], r"48 missing \(model\.layers\.1.*, …\)"),
        (lambda t: t.update(score=torch.zeros(2)), r"tensors 1 unexpected \(score\)"),
        (lambda t: t.update({"decoder.norm.weight": torch.zeros(64)}), r"1 unexpected \(decoder\.norm\.weight\)"),
        (lambda t: t.update({"lm_head.weight": torch.zeros(9, 64)}), r"1 unfit \(lm_head\.weight \(9, 64\) instead of"),
        (lambda t: t.update({"model.image_newline": torch.zeros(64, dtype=torch.int8)}), r"image_newline in int8"),
        (lambda t: t["lm_head.weight"][7, 3].fill_(torch.nan), r"1 with NaN or infinity \(lm_head\.weight\)"),
        (lambda t: t[PATCHES].fill_(torch.inf), r"1 with NaN or infinity \(.*patch_embedding\.weight\)"),
    ],
)
def test_tensors_that_do_not_fit(changed: Callable[[Change], Path], change: Change, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_ocr(changed(change))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 700


def test_all_complaints_come_at_once(changed: Callable[[Change], Path]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["model.normal.weight"] = tensors.pop("model.norm.weight")
        tensors["model.image_newline"] = torch.zeros(3)

    with pytest.raises(CheckpointError, match=r"1 missing .* 1 unexpected .* 1 unfit"):
        load_ocr(changed(change))


def test_a_tensor_in_two_shards_is_refused(toy: Path, tmp_path: Path) -> None:
    save_ocr(*load_ocr(toy), tmp_path, max_shard_size=2_500_000)
    first, second = (tmp_path / f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    key = next(iter(load_file(first)))
    save_file(load_file(second) | {key: torch.zeros(3)}, second)
    with pytest.raises(CheckpointError, match="1 unexpected"):
        load_ocr(tmp_path)


def test_half_precision_that_overflows_is_refused(changed: Callable[[Change], Path]) -> None:
    folder = changed(lambda tensors: tensors["model.norm.weight"].fill_(1e6))
    load_ocr(folder)
    with pytest.raises(CheckpointError, match=r"NaN or infinity \(model\.norm\.weight\)"):
        load_ocr(folder, dtype=torch.float16)


@pytest.mark.parametrize("config", [OcrConfig(), OcrConfig(published={"use_mla": False, "vocab_size": 9})])
def test_a_config_without_its_json_is_not_saved(tmp_path: Path, config: OcrConfig) -> None:
    with torch.device("meta"):
        model = DeepseekOcr(OcrConfig(clip=ClipConfig(layers=1), decoder=DecoderConfig(num_hidden_layers=1)))
    model.config = config
    with pytest.raises(CheckpointError, match=r"OcrConfig\.from_dict"):
        save_ocr(model, {}, tmp_path)


MID_SIZE = {"hidden_size": 512, "moe_intermediate_size": 896, "n_routed_experts": 64, "num_attention_heads": 8}
LOAD = """
import sys, torch
from folioscope.weights import load_ocr
def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
before = peak()
model, _ = load_ocr(sys.argv[1], dtype=None if sys.argv[2] == "None" else getattr(torch, sys.argv[2]))
touched = sum(float(p.view(-1)[::1024].sum()) for p in model.parameters())
print((peak() - before) / sum(p.nbytes for p in model.parameters()))
"""


@pytest.fixture(scope="module")
def mid_size(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bfloat16 checkpoint of about 360 MB, mostly experts as in the published one."""
    folder = tmp_path_factory.mktemp("mid_size")
    config = OcrConfig.from_dict(json.loads((toy / "config.json").read_text()) | MID_SIZE)
    with torch.device("meta"):
        model = DeepseekOcr(config).bfloat16()
    model.to_empty(device="cpu").load_state_dict({k: torch.zeros_like(v) for k, v in model.state_dict().items()})
    save_ocr(model, {}, folder)
    assert (folder / "model.safetensors").stat().st_size > 350_000_000
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is measured through /proc")
@pytest.mark.parametrize("dtype", ["None", "float32", "float16"])
def test_loading_needs_no_second_copy(mid_size: Path, dtype: str) -> None:
    result = subprocess.run([sys.executable, "-c", LOAD, mid_size, dtype], capture_output=True, text=True, check=True)
    print(dtype, result.stdout)
    assert 0.9 < float(result.stdout) < 1.15
