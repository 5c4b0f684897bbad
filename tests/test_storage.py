"""Files that hold weights: which are read, which are refused, and how much memory that takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from folioscope.storage import read_json, stored_tensors, weight_files, write_checkpoint
from folioscope.types import CheckpointError, OutputError


class Attack:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder,)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def names(folder: Path) -> list[str]:
    return [file.name for file in weight_files(folder)]


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    touch(tmp_path, "pytorch_model.bin")
    assert names(tmp_path) == ["pytorch_model.bin"]
    touch(tmp_path, "model-00001-of-000001.safetensors")
    assert names(tmp_path) == ["model-00001-of-000001.safetensors"]
    touch(tmp_path, "model.safetensors")
    assert names(tmp_path) == ["model.safetensors"]


def test_the_index_names_the_shards(tmp_path: Path) -> None:
    touch(tmp_path, "b.safetensors", "a.safetensors", "other.safetensors")
    index = {"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert names(tmp_path) == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("weight_map", [{"x": "../x.safetensors"}, {"x": "/etc/passwd"}, {}, [], None])
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, weight_map: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="must name files beside it"):
        weight_files(tmp_path)


def test_missing_shards_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors")
    with pytest.raises(CheckpointError, match=r"1 of 3 weight files missing \(first: model-00002-of-00003"):
        weight_files(tmp_path)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights; give a folder with model\.safetensors or pytorch_model"):
        weight_files(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "missing"), ("{", "not readable"), ("[]", "JSON object"), (b"\xff\xfe", "readable")]
)
def test_json_that_cannot_be_used(tmp_path: Path, content: str | bytes | None, problem: str) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(CheckpointError, match=rf"config\.json.*{problem}"):
        read_json(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_refused(tmp_path: Path, legacy: bool) -> None:
    file, trace = tmp_path / "pytorch_model.bin", tmp_path / "was_here"
    torch.save({"x": Attack(trace)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: refused.*use a safetensors"):
        next(stored_tensors(file))
    assert not trace.exists()
    torch.load(file, weights_only=False)  # the attack is real
    assert trace.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_both_pickle_formats_are_read(tmp_path: Path, legacy: bool) -> None:
    file, tensor = tmp_path / "pytorch_model.bin", torch.randn(3, 4)
    torch.save({"x": tensor}, file, _use_new_zipfile_serialization=not legacy)
    [(key, stored)] = stored_tensors(file)
    assert key == "x"
    assert stored.equal(tensor)


@pytest.mark.parametrize("content", [{"x": 1}, torch.zeros(2), {"model": {"x": torch.zeros(2)}}])
def test_a_pickle_of_something_else_is_damaged(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="damaged"):
        next(stored_tensors(tmp_path / "pytorch_model.bin"))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("kept", [0, 7, 0.5, 0.99])
def test_a_truncated_file_is_damaged(tmp_path: Path, name: str, kept: float) -> None:
    file = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)({"x": torch.randn(100, 100)}, file)
    content = file.read_bytes()
    file.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=rf"{name}: (damaged|refused)"):
        next(stored_tensors(file))


def test_shards_hold_what_they_may(tmp_path: Path) -> None:
    tensors = {f"t{n}": torch.full((100,), float(n)) for n in range(5)} | {"large": torch.zeros(1000)}
    write_checkpoint(tensors, {}, tmp_path, max_shard_size=800)
    shards = [dict(stored_tensors(file)) for file in weight_files(tmp_path)]
    assert [sorted(shard) for shard in shards] == [["t0", "t1"], ["t2", "t3"], ["t4"], ["large"]]
    assert all(stored.equal(tensors[key]) for shard in shards for key, stored in shard.items())
    index = read_json(tmp_path / "model.safetensors.index.json")
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    assert index["weight_map"].keys() == tensors.keys()


def test_what_was_there_before_is_replaced(tmp_path: Path) -> None:
    tensors = {f"t{n}": torch.zeros(100) for n in range(4)}
    (tmp_path / "README.md").write_text("mine")
    for limit in (400, 10_000, 400, 800):
        write_checkpoint(tensors, {"limit": limit}, tmp_path, limit)
        assert {key for file in weight_files(tmp_path) for key, _ in stored_tensors(file)} == tensors.keys()
        assert read_json(tmp_path / "config.json") == {"limit": limit}
    left = ["README.md", "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*left, "model.safetensors.index.json"]
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    write_checkpoint({"x": torch.ones(2)}, {"old": True}, tmp_path, 100)
    with pytest.raises(TypeError):
        write_checkpoint({"x": torch.zeros(2)}, {"not JSON": object()}, tmp_path, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert dict(stored_tensors(tmp_path / "model.safetensors"))["x"].equal(torch.ones(2))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="no checkpoint can be written there"):
        write_checkpoint({}, {}, tmp_path / "file", 100)


COPY = """
import sys, torch
from pathlib import Path
from folioscope.storage import stored_tensors
def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
before = peak()
copies = [t.float() for _, t in stored_tensors(Path(sys.argv[1]))]
print((peak() - before) / sum(t.nbytes for t in copies))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is measured through /proc")
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_copying_needs_no_second_copy(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    tensors = {f"t{n}": torch.zeros(1024, 1024, dtype=torch.bfloat16) for n in range(128)}  # 256 MiB
    (save_file if name.endswith("safetensors") else torch.save)(tensors, file)
    result = subprocess.run([sys.executable, "-c", COPY, file], capture_output=True, text=True, check=True)
    assert 0.95 < float(result.stdout) < 1.15
