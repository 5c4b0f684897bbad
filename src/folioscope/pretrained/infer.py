"""The published `infer`: one image in; its text printed as it is decoded, saved if asked, and returned.

Source: `infer` in modeling_deepseekocr.py of deepseek-ai/DeepSeek-OCR.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from folioscope.config import Mode
from folioscope.export.published import SAVE_BANNER, compression_statistics, save_published
from folioscope.generate import Prompt, generate
from folioscope.model.ocr import DeepseekOcr
from folioscope.pages import open_page
from folioscope.tokens import BOS, EOS, IMAGE, PUBLISHED_IDS, encode_prompt, prompt_text
from folioscope.types import CheckpointError, GenerateOptions, InputError, OutputError
from folioscope.views import Views, ocr_views

MAX_NEW_TOKENS = 8192
NGRAM_SIZE, EVAL_NGRAM_SIZE = 20, 35
CUT_SHORT = "\ufffd"
"""What bytes that are not yet a character decode to."""


class AnyTokenizer(Protocol):
    """As much as `infer` needs of a tokenizer: Folioscope's has it, and so has any of transformers."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def decode(self, ids: Any, /) -> Any: ...


@torch.no_grad()
def infer(
    model: DeepseekOcr,
    tokenizer: AnyTokenizer,
    prompt: str,
    image_file: str | Path,
    output_path: str | Path,
    mode: Mode,
    *,
    test_compress: bool,
    save_results: bool,
    eval_mode: bool,
) -> str:
    """Read one image; see `DeepseekOCRForCausalLM.infer`."""
    words, asked, image = _Words(tokenizer), prompt_text(prompt), _first_page(image_file)
    views = ocr_views(image, mode)
    model.config.tokens_per_side(views.global_view.shape[-1])  # refuses sizes that the encoder cannot divide
    if save_results and not eval_mode:
        _make(output_path)
    features = model.image_features(views.global_view, views.tiles, views.grid)  # (slots, hidden)
    encoded = encode_prompt(words, asked, len(features))  # pyright: ignore[reportArgumentType]
    ngram_size = EVAL_NGRAM_SIZE if eval_mode else NGRAM_SIZE
    options = GenerateOptions(MAX_NEW_TOKENS, no_repeat_ngram_size=ngram_size, stop_ids=(words.eos_id,))
    printer = None if eval_mode else _Printer(words)
    (generated,) = generate(model, [Prompt(encoded.ids, encoded.image_mask, features)], options, on_token=printer)
    text = words.decode(generated.ids)
    if printer is not None:
        printer.finish()
        if test_compress:
            print(_statistics(len(words.encode(text)), views, mode))
        if save_results:
            print(SAVE_BANNER)
            save_published(text, image, output_path)
    return text.removesuffix(EOS).strip()


def _make(output_path: str | Path) -> None:
    """Make the folder and its `images`, as published, before minutes go into reading."""
    if not str(output_path):
        raise InputError("output_path='': save_results needs a folder to write to")
    try:
        Path(output_path, "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output_path}: cannot be written to: {error.strerror}") from error


def _first_page(image_file: str | Path) -> Image.Image:
    if not str(image_file):
        raise InputError("image_file='': give the path of an image")
    return open_page(image_file, alpha="drop").image


def _statistics(text_tokens: int, views: Views, mode: Mode) -> str:
    tiles = 0 if views.tiles is None else len(views.tiles)
    return compression_statistics(text_tokens, views.page_size, tiles, mode.base_size, mode.image_size, mode.crop_mode)


class _Words:
    """Any tokenizer, as `encode_prompt` wants it; those of transformers put bos in front unless told not to."""

    def __init__(self, tokenizer: AnyTokenizer):
        self._tokenizer = tokenizer
        self.bos_id, self.eos_id, self.image_id = (self._id(token) for token in (BOS, EOS, IMAGE))

    def _id(self, token: str) -> int:
        ids = self.encode(token)
        if len(ids) != 1 and token not in PUBLISHED_IDS:
            raise CheckpointError(f"tokenizer: has no {token} token; it is not the tokenizer of a DeepSeek-OCR model")
        return ids[0] if len(ids) == 1 else PUBLISHED_IDS[token]

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids))


class _Printer:
    """Prints ids as they come, whole characters only, and a line break for the end of the sequence."""

    def __init__(self, words: _Words):
        self._words = words
        self._pending: list[int] = []

    def __call__(self, row: int, token: int, logprob: float) -> None:
        self._pending.append(token)
        if not self._words.decode(self._pending).endswith(CUT_SHORT):
            self.finish()

    def finish(self) -> None:
        """Print what is left, if a character was cut short."""
        print(self._words.decode(self._pending).replace(EOS, "\n"), end="", flush=True)
        self._pending.clear()
