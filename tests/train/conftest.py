"""A reader small enough to train for a few steps in a test."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from folioscope.config import OcrConfig
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import Tokenizer
from folioscope.train.optimize import initialise
from folioscope.train.recipe import EMBEDDED_CONFIG
from folioscope.train.vocabulary import save_tokenizer


@pytest.fixture(scope="session")
def tiny_config() -> dict[str, Any]:
    config = copy.deepcopy(dict(EMBEDDED_CONFIG))
    towers = config["vision_config"]["width"]
    towers["sam_vit_b"] |= {"width": 16, "layers": 1, "heads": 2, "neck_channels": 8, "downsample_channels": [8, 16]}
    towers["clip-l-14-224"] |= {"width": 16, "layers": 1, "heads": 2}
    small = {"hidden_size": 16, "intermediate_size": 32, "moe_intermediate_size": 8, "num_attention_heads": 2}
    return config | small | {"num_key_value_heads": 2}


@pytest.fixture(scope="session")
def tiny_reader(tiny_config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[DeepseekOcr, Tokenizer]:
    folder: Path = tmp_path_factory.mktemp("tiny_reader")
    save_tokenizer(folder)
    torch.manual_seed(0)
    model = DeepseekOcr(OcrConfig.from_dict(tiny_config)).eval()
    initialise(model)
    return model, Tokenizer.from_directory(folder)
