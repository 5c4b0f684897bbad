"""The published size, with random weights: what loading and reading take of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from conftest import ROOT
from folioscope.bench.checkpoint import write_reader

pytestmark = pytest.mark.slow

GB = 1e9
STORED = 6_670_000_000
"""Bytes of the published weights in bfloat16, without the unused patch convolution."""

READER = """
import json, sys, time
from PIL import Image
import folioscope

folder, dtype, new_tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
report = {}

def note(step, start):
    lines = dict(line.split(":") for line in open("/proc/self/status"))  # getrusage would count this one's parent
    peak = 1024 * int(lines["VmHWM"].removesuffix(" kB\\n"))
    report[step] = {"seconds": time.monotonic() - start, "peak": peak}

start = time.monotonic()
model = folioscope.DeepseekOCRForCausalLM.from_pretrained(folder, dtype=dtype)
note("loading", start)
if new_tokens:
    processor = folioscope.DeepseekOCRProcessor.from_pretrained(folder)
    page = Image.linear_gradient("L").resize((1000, 1400))
    inputs = processor("free", page, base_size=640, image_size=640, crop_mode=False)
    start = time.monotonic()
    report["ids"] = model.generate(**inputs, max_new_tokens=new_tokens, eos_token_id=-1).tolist()
    note("reading", start)
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("full_size")
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    free, memory = shutil.disk_usage(folder).free, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < 15 * GB or memory < 20 * GB:
        pytest.skip(f"needs 15 GB of disk and 20 GB of memory; here are {free / GB:.0f} and {memory / GB:.0f}")
    write_reader(folder, torch.bfloat16)
    yield folder
    shutil.rmtree(folder)


def run(folder: Path, dtype: str, new_tokens: int = 0) -> dict:
    """What happened in a process of its own: seconds and peak bytes of memory by step."""
    command = [sys.executable, "-c", READER, str(folder), dtype, str(new_tokens)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    for step in ("loading", "reading"):
        if step in report:
            print(f"{dtype} {step}: {report[step]['seconds']:.1f} s, peak {report[step]['peak'] / GB:.2f} GB")
    return report


def test_a_page_is_read_from_mapped_weights(checkpoint: Path) -> None:
    size = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    assert size == pytest.approx(STORED, rel=0.01)
    report = run(checkpoint, "auto", new_tokens=8)
    assert report["loading"]["peak"] < 1.15 * size
    assert report["reading"]["peak"] < 1.3 * size
    assert len(report["ids"][0]) == 8


def test_converting_makes_no_second_copy(checkpoint: Path) -> None:
    size = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    assert run(checkpoint, "float16")["loading"]["peak"] < 1.15 * size
