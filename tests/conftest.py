"""What every test may ask for, and the settings that make runs alike on any machine."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def tiny_config() -> dict[str, Any]:
    """The embedded reader's `config.json` with a network small enough to train for a few steps."""
    from folioscope.train.recipe import EMBEDDED_CONFIG

    config = copy.deepcopy(dict(EMBEDDED_CONFIG))
    towers = config["vision_config"]["width"]
    towers["sam_vit_b"] |= {"width": 16, "layers": 1, "heads": 2, "neck_channels": 8, "downsample_channels": [8, 16]}
    towers["clip-l-14-224"] |= {"width": 16, "layers": 1, "heads": 2}
    small = {"hidden_size": 16, "intermediate_size": 32, "moe_intermediate_size": 8, "num_attention_heads": 2}
    return config | small | {"num_key_value_heads": 2}


@pytest.fixture(scope="session")
def tiny_reader(tiny_config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """An untrained network of that size, and its tokenizer."""
    import torch

    from folioscope.config import OcrConfig
    from folioscope.model.ocr import DeepseekOcr
    from folioscope.tokens import Tokenizer
    from folioscope.train.optimize import initialise
    from folioscope.train.vocabulary import save_tokenizer

    folder: Path = tmp_path_factory.mktemp("tiny_reader")
    save_tokenizer(folder)
    torch.manual_seed(0)
    model = DeepseekOcr(OcrConfig.from_dict(tiny_config)).eval()
    initialise(model)
    return model, Tokenizer.from_directory(folder)


@pytest.fixture(scope="session")
def embedded_reader() -> tuple[Any, Any]:
    """The network, in float32, and the tokenizer of the reader in this package."""
    import torch

    from folioscope.hub import resolve
    from folioscope.tokens import Tokenizer
    from folioscope.weights import load_ocr

    folder = resolve()
    return load_ocr(folder, dtype=torch.float32)[0], Tokenizer.from_directory(folder)


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Reader that answers at once, as scripted."""
    from live_server import scripted_reader

    return scripted_reader(tmp_path_factory.mktemp("scripted"))


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Reader that goes on for a long time."""
    from live_server import endless_reader

    return endless_reader(tmp_path_factory.mktemp("endless"))


@pytest.fixture(scope="session")
def server(scripted: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server around `scripted`."""
    from folioscope.serve.options import ServeOptions
    from live_server import served

    with served(scripted, ServeOptions(data=tmp_path_factory.mktemp("data"))) as address:
        yield address


@pytest.fixture(scope="session")
def pile_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network small enough to read hundreds of pages in a test."""
    from piles import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("pile_checkpoint"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
