"""What every test may ask for, and the settings that make runs alike on any machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Before torch is imported, and inherited by the processes that tests start: toy tensors are quickest on one
# thread, and no test may depend on the network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared() -> Callable[..., Path]:
    """`shared("golden", "deepseek_toy")` is that path beside the repository; the test skips where it is missing."""

    def find(*parts: str) -> Path:
        path = ROOT.parent.joinpath("shared", *parts)
        if not path.exists():
            pytest.skip(f"reference data not here: {path}")
        return path

    return find
