"""`import folioscope` and `folioscope --help` are instant: they load nothing heavy."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import folioscope

HEAVY = {"torch", "numpy", "PIL", "transformers", "safetensors", "tokenizers", "huggingface_hub", "pypdfium2"}
SECONDS = 0.3
RUNS = 5
CODE = {
    "import folioscope": "import folioscope",
    "folioscope --help": "import sys; sys.argv = ['folioscope', '--help']; from folioscope.cli import main; main()",
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True)


def loaded(code: str) -> set[str]:
    """Top-level modules a fresh interpreter imports while it runs `code`."""
    log = run("-X", "importtime", "-c", code).stderr
    return {
        line.rsplit("|", 1)[-1].strip().split(".")[0] for line in log.splitlines() if line.startswith("import time")
    }


def seconds(code: str) -> float:
    start = time.perf_counter()
    run("-c", code)
    return time.perf_counter() - start


@pytest.mark.parametrize("code", CODE.values(), ids=CODE.keys())
def test_loads_nothing_heavy(code: str) -> None:
    modules = loaded(code)
    assert "folioscope" in modules
    assert modules & HEAVY == set()


def test_heavy_modules_would_be_seen() -> None:
    assert "numpy" in loaded("import folioscope, numpy.linalg")


@pytest.mark.parametrize("code", CODE.values(), ids=CODE.keys())
def test_is_quick(code: str) -> None:
    assert min(seconds(code) for _ in range(RUNS)) < SECONDS


@pytest.mark.parametrize("name", sorted({*folioscope.__all__} - {"__version__"}))
def test_every_public_name_loads(name: str) -> None:
    assert getattr(folioscope, name).__name__ == name
    assert name in dir(folioscope)


def test_version() -> None:
    assert folioscope.__version__[0].isdigit()


def test_public_names_are_sorted_and_have_a_home() -> None:
    assert folioscope.__all__ == sorted(folioscope.__all__)
    assert folioscope._HOMES.keys() <= set(folioscope.__all__)


def test_unknown_names_are_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Raeder'"):
        folioscope.Raeder  # noqa: B018


def test_threads_of_the_command_sleep_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os; import folioscope.cli as cli; cli.app = lambda: print(os.environ['OMP_WAIT_POLICY']); cli.main()"
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert run("-c", code).stdout == "PASSIVE\n"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert run("-c", code).stdout == "ACTIVE\n"
