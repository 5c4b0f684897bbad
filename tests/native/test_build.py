"""The kernels are optional: without a compiler, or switched off, everything goes on in PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from folioscope.native.build import SOURCES, cached, compile_kernels, compiler
from folioscope.native.library import levels

STATE = "from folioscope.native import available, library; print(available(), library.levels())"


def state(**environment: str) -> str:
    """What a fresh process says of the kernels."""
    run = subprocess.run(
        [sys.executable, "-c", STATE],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def test_without_a_compiler_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert compiler() is None
    assert not compile_kernels(tmp_path / "kernels.so")
    monkeypatch.setenv("CC", sys.executable)  # runs, and fails
    assert not compile_kernels(tmp_path / "kernels.so")
    assert list(tmp_path.iterdir()) == []


def test_no_kernels_no_error(tmp_path: Path) -> None:
    nowhere = {"XDG_CACHE_HOME": str(tmp_path / "file" / "below"), "PATH": str(tmp_path), "CC": "none"}
    (tmp_path / "file").write_text("")
    assert state(**nowhere) == "False []"


@pytest.mark.skipif(not levels(), reason="no compiled kernels: no C compiler, or FOLIOSCOPE_NATIVE=0")
def test_the_switch() -> None:
    assert state(FOLIOSCOPE_NATIVE="0") == "False []"
    assert state(FOLIOSCOPE_NATIVE="plain").startswith("True ['plain'")


def test_a_broken_library_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached().parent.mkdir()
    cached().write_bytes(b"no library")
    assert state(XDG_CACHE_HOME=str(tmp_path)) == "False []"


@pytest.mark.skipif(not levels(), reason="no compiled kernels: no C compiler, or FOLIOSCOPE_NATIVE=0")
def test_a_forked_child_works_alone() -> None:
    code = """
import os, torch
from folioscope.native import Bank, Weight, linear
torch.set_num_threads(2)
one = Bank([Weight("bfloat16", 640, 64, torch.randn(640, 64).bfloat16())])
x = torch.randn(4, 64)
before = linear(one, x)
child = os.fork()
if not child:
    os._exit(0 if linear(one, x).equal(before) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "0"


def test_the_sources_are_what_the_cache_is_named_after() -> None:
    assert all(source.is_file() for source in SOURCES)
    assert cached().name.startswith("kernels-")
