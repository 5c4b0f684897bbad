"""Train a checkpoint further on pages of one's own: all its weights, or LoRA adapters on its decoder."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from folioscope.evaluate.edit import edit_distance
from folioscope.grounding import parse
from folioscope.model.ocr import DeepseekOcr
from folioscope.tokens import Tokenizer
from folioscope.train.answers import IGNORE, weighted_cross_entropy
from folioscope.train.evaluate import decode
from folioscope.train.own_pages import OwnBatch, OwnBatches, OwnPage, split_pages
from folioscope.train.precision import mixed_precision
from folioscope.train.run import Training
from folioscope.train.schedule import Recipe
from folioscope.types import InputError
from folioscope.weights import load_ocr, save_ocr, to_published
from folioscope.weights.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS

ADAPTED = r"blocks\.\d+\.(self_attn|mlp|mlp\.shared_experts)\.\w+_proj"
"""Decoder modules that take an adapter: those every token passes through; a routed expert sees few of them."""


HALVES = ("encoder", "decoder")


@dataclass(frozen=True)
class Turn:
    """A stretch of tuning."""

    steps: int


@dataclass(frozen=True)
class TuneRecipe(Recipe[Turn]):
    """See `Recipe`.

    Attributes:
        pages: Read in a step.
        lora: Rank of the adapters, twice of which is their alpha; 0 trains the weights themselves.
        freeze: The half that stays as it is, "encoder" or "decoder"; "" is none. Adapters leave both. New letters are
            learnt by the encoder: with few pages, a decoder free to change learns them by heart.
        slips: Share of the answers' characters that the decoder is shown wrong, see `with_slips`: what came before is
            then no reason to stop looking.
    """

    pages: int = 4
    lora: int = 0
    freeze: str = ""
    slips: float = 0.05


def tune_recipe(
    steps: int, *, lr: float = 1e-3, pages: int = 4, lora: int = 0, freeze: str = "", seed: int = 0
) -> TuneRecipe:
    """A recipe of `steps` steps, the rate falling to zero, a checkpoint at each tenth. Raises InputError."""
    if freeze not in ("", *HALVES):
        raise InputError(f'freeze "{freeze}": must be one of {", ".join(HALVES)}, or left out')
    return TuneRecipe(
        (Turn(steps),), seed, lr, warmup=max(1, steps // 20), decay=1.0, ema=0.9, every=max(1, steps // 10),
        pages=pages, lora=lora, freeze=freeze,
    )  # fmt: skip


class Tuning(Training[nn.Module, OwnBatch]):
    """A run in a folder, see `Training`; `model/` is a checkpoint, or an adapter for `--adapter`.

    Args:
        recipe: How.
        pages: From `load_pages`; one in ten is not trained on, see `measure`.
        init: The checkpoint to start from.
        device: Where it trains.
    """

    def __init__(self, recipe: TuneRecipe, pages: Sequence[OwnPage], init: Path, folder: Path, device: str = "cpu"):
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.trained, self.measured = split_pages(pages)
        self.tokenizer = Tokenizer.from_directory(init)
        dtype = None if recipe.lora else torch.float32
        self.network, self._carried = load_ocr(init, device=device, dtype=dtype)
        self.network.requires_grad_(not recipe.lora)
        if recipe.freeze:
            self.network.get_submodule(recipe.freeze).requires_grad_(False)
        for weight in self.network.parameters():
            if weight.requires_grad:
                weight.data = weight.data.clone()  # a mapped file is not to be trained in place
        super().__init__(recipe, folder, self._adapters() if recipe.lora else self.network, {})

    def _adapters(self) -> nn.Module:
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise InputError("--lora: needs peft; install it with pip install 'folioscope[train]'") from error
        config = LoraConfig(r=self.recipe.lora, lora_alpha=2 * self.recipe.lora, target_modules=ADAPTED)
        inject_adapter_in_model(config, self.network.decoder)
        factors = ((name, p) for name, p in self.network.named_parameters() if "lora_" in name)
        return nn.ParameterDict({name.replace(".", "/"): p for name, p in factors})

    def batches(self) -> OwnBatches:
        recipe, config = self.recipe, self.network.config
        return OwnBatches(self.trained, recipe.pages, recipe.seed, config, self.tokenizer, recipe.slips)

    def pictures(self, batch: OwnBatch) -> Sequence[Tensor]:
        return [views.global_view for views in batch.views]

    def losses(self, batch: OwnBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Cross-entropy of the answers' ids, as heavy as in the recipe: see `answers`."""
        device = self.network.device
        with mixed_precision(device.type):
            features = [self.network.image_features(v.global_view, v.tiles, v.grid) for v in batch.views]
            rows, targets = batch.rows, batch.rows.targets
            x = self.network.embed(rows.ids.to(device), rows.image_mask.to(device), features)  # (B, T, hidden)
            asked = targets != IGNORE
            logits = self.network.decoder.logits(self.network.decoder(x)[asked.to(device)])  # (n, vocab)
        answers = targets[asked].to(device)
        text = weighted_cross_entropy(logits, answers, rows.weights[asked].to(device))
        return text, {"text": text, "accuracy": (logits.argmax(-1) == answers).float().mean()}

    def measure(self) -> float:
        """Character error rate on the pages that are not trained on, as they are read, with the averaged weights."""
        edits = characters = 0
        with self._as_averaged():
            for page in self.measured:
                answer, truth = self._read(page)
                edits, characters = edits + edit_distance(answer, truth), characters + len(truth)
        return edits / max(1, characters)

    def _read(self, page: OwnPage) -> tuple[str, str]:
        image = page.open()
        texts = decode(self.network, self.tokenizer, [image], page.prompt, [page.answer])[0][0], page.answer
        if page.prompt == "markdown":
            texts = tuple(parse(text, image.size, words_in_refs=False).markdown for text in texts)
        return texts[0], texts[1]

    def export(self, folder: Path) -> None:
        """Write the averaged weights: a checkpoint in bfloat16, or an adapter, in the published layout."""
        folder.mkdir(exist_ok=True)
        if self.recipe.lora:
            self._export_adapter(folder)
        else:
            averaged = copy.deepcopy(self.averaged).to(torch.bfloat16)
            assert isinstance(averaged, DeepseekOcr)
            save_ocr(averaged, self._carried, folder)
            self.tokenizer.save_pretrained(folder)

    def _export_adapter(self, folder: Path) -> None:
        rank = self.recipe.lora
        tensors = dict(_published_factors(self.averaged))
        settings = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": 2 * rank,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": sorted({key.split(".lora_")[0].rsplit(".", 1)[1] for key in tensors}),
            "inference_mode": True,
        }
        (folder / ADAPTER_CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        save_file(tensors, folder / ADAPTER_WEIGHTS[0])

    @contextmanager
    def _as_averaged(self) -> Iterator[None]:
        kept = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(self.averaged.state_dict())
        try:
            yield
        finally:
            self.model.load_state_dict(kept)


def _published_factors(adapters: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """peft's keys, under the published module names."""
    for key, factor in adapters.state_dict().items():
        module, half = key.replace("/", ".").split(".lora_")
        published = to_published(f"{module}.weight").removesuffix(".weight")
        yield f"base_model.model.{published}.lora_{half[0]}.weight", factor.detach().float().contiguous()
