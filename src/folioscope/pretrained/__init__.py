"""The published models as their users know them: `from_pretrained`, a call, `generate`, `infer`, `save_pretrained`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from folioscope import hub
from folioscope.config import Mode, OcrConfig
from folioscope.generate import OnToken, generate
from folioscope.model.ocr import DeepseekOcr
from folioscope.pretrained.infer import AnyTokenizer, infer
from folioscope.pretrained.inputs import OcrInputs
from folioscope.pretrained.sam import SamImageSegmentationOutput, SamModel
from folioscope.pretrained.sharing import Loading, ModelOutput, Shared
from folioscope.quantize import choose_precision, load_reader
from folioscope.tokens import PAD, PUBLISHED_IDS
from folioscope.types import GenerateOptions, InputError
from folioscope.weights import save_ocr

__all__ = ["CausalLMOutput", "DeepseekOCRForCausalLM", "SamImageSegmentationOutput", "SamModel"]


@dataclass(frozen=True, eq=False)
class CausalLMOutput(ModelOutput):
    """What a call returns: `logits`, (B, T, vocab) float32."""

    logits: Tensor


class Streamer(Protocol):
    """As transformers' streamers: told the prompt's ids, then each new id, then the end."""

    def put(self, value: Tensor, /) -> object: ...

    def end(self) -> object: ...


class DeepseekOCRForCausalLM(Shared, nn.Module):
    """DeepSeek-OCR under the published names; `model` is the network itself.

    It stays where and as it was loaded until `.to(...)`, `.cuda()` or `.half()` is called on it.
    """

    def __init__(self, model: DeepseekOcr, carried: Mapping[str, Tensor] | None = None):
        """From a network, and the tensors that `folioscope.weights.load_ocr` returned beside it."""
        super().__init__()
        self.model = model
        self._carried = dict(carried or {})

    @classmethod
    def from_pretrained(cls, path_or_id: str | Path | None = None, **options: Any) -> DeepseekOCRForCausalLM:
        """Load a checkpoint, in evaluation mode and with no weight asking for a gradient.

        Args:
            path_or_id: A folder, a hub id such as "deepseek-ai/DeepSeek-OCR", or None for the embedded checkpoint.
            options: dtype, device, revision and others: see `Loading`.

        Raises:
            CheckpointError: The checkpoint is missing, or cannot be loaded.
            InputError: No such dtype, or no such device here.
        """
        how = Loading(**options)
        place, (kind, floats) = how.place, choose_precision(how.asked)
        folder = hub.resolve(path_or_id, **how.where)
        model = cls(*load_reader(folder, device=place, dtype=floats, kind=kind)).eval()
        return model.requires_grad_(False)

    @property
    def config(self) -> OcrConfig:
        return self.model.config

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        return self.model.device

    def forward(self, input_ids: Tensor, **inputs: Any) -> CausalLMOutput:
        """The logits of every position.

        Args:
            input_ids: (B, T) int64, padded on the right.
            inputs: What else the processor returned, or `images` as published: see `OcrInputs`.

        Raises:
            InputError: The inputs do not belong together.
        """
        given = OcrInputs(input_ids, **inputs)
        features = [prompt.features for prompt in given.prompts(self.model)]
        ids, mask = (tensor.to(self.device) for tensor in given.ids_and_mask())
        return CausalLMOutput(self.model(ids, mask, features))

    def get_image_features(self, **inputs: Any) -> Tensor:
        """(slots, hidden): the image tokens of every page, in the order of the image slots; see `OcrInputs`."""
        pages = OcrInputs(**inputs).pages()
        if not pages:
            raise InputError("no pixel_values: give what the processor returned for an image")
        return torch.cat([self.model.image_features(*page) for page in pages])

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        *,
        max_new_tokens: int | None = None,
        no_repeat_ngram_size: int = 0,
        do_sample: bool | None = None,
        temperature: float | None = None,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        eos_token_id: int | Sequence[int] | None = None,
        pad_token_id: int = PUBLISHED_IDS[PAD],
        streamer: Streamer | None = None,
        use_cache: bool = True,
        **inputs: Any,
    ) -> Tensor:
        """Continue each of B rows; a row gives what it would give alone.

        Args:
            input_ids: (B, T) int64, padded on the right.
            max_new_tokens, no_repeat_ngram_size, top_p, top_k, seed: See `GenerateOptions`; n-grams are not banned
                unless this says so.
            do_sample: False is greedy whatever the temperature; None samples if a temperature above 0 is given.
            temperature: Sampled at; 0 is greedy; None is 1 with `do_sample`.
            eos_token_id: What ends a row; None is the config's.
            pad_token_id: Fills rows that ended before others.
            streamer: Told each id as it is chosen; for one row only.
            use_cache: Taken because published examples pass it; there always is a cache.
            inputs: What else the processor returned: see `OcrInputs`.

        Returns:
            (B, new) int64 on the model's device: only the new ids, each row's end token included.

        Raises:
            InputError: The inputs do not belong together, or leave no position for a new token.
        """
        given = OcrInputs(input_ids, **inputs)
        options = GenerateOptions(
            max_new_tokens=max_new_tokens,
            temperature=_temperature(do_sample, temperature),
            top_p=top_p,
            top_k=top_k,
            seed=seed,
            no_repeat_ngram_size=no_repeat_ngram_size,
            stop_ids=_ids(self.config.decoder.eos_token_id if eos_token_id is None else eos_token_id),
        )
        prompts = given.prompts(self.model)
        rows = generate(self.model, prompts, options, on_token=_started(streamer, input_ids))
        if streamer is not None:
            streamer.end()
        ids = [torch.tensor(row.ids, dtype=torch.int64) for row in rows]
        return pad_sequence(ids, batch_first=True, padding_value=pad_token_id).to(self.device)

    def infer(
        self,
        tokenizer: AnyTokenizer,
        prompt: str = "",
        image_file: str | Path = "",
        output_path: str | Path = "",
        base_size: int = 1024,
        image_size: int = 640,
        crop_mode: bool = True,
        test_compress: bool = False,
        save_results: bool = False,
        eval_mode: bool = False,
    ) -> str:
        """Read one image as the published `infer` does, with the same prints and files, and return its text.

        Args:
            tokenizer: From `folioscope.AutoTokenizer`, or one of transformers.
            prompt: With one `<image>`, or the name of a preset.
            image_file: The image. Of a PDF or a TIFF the first page is read.
            output_path: The folder that `save_results` writes to.
            base_size, image_size, crop_mode: See `folioscope.config.Mode`.
            test_compress: Print how far the text was compressed into image tokens.
            save_results: Write `result.mmd`, `result_with_boxes.jpg`, `images/*.jpg` and for figures `geo.jpg`.
            eval_mode: Print and write nothing, and ban repeated 35-grams in place of 20-grams.

        Returns:
            The text with its special tokens, blanks and the end of the sequence removed at the ends. (The published
            `infer` returns this in `eval_mode` only, and else None.)

        Raises:
            InputError: An image, prompt or size that cannot be used, or nowhere to save.
            OutputError: `output_path` cannot be written.
        """
        mode = Mode(base_size, image_size, crop_mode)
        flags = {"test_compress": test_compress, "save_results": save_results, "eval_mode": eval_mode}
        return infer(self.model, tokenizer, prompt, image_file, output_path, mode, **flags)

    def write(self, folder: Path, max_shard_size: int) -> None:
        save_ocr(self.model, self._carried, folder, max_shard_size=max_shard_size)


def _temperature(do_sample: bool | None, temperature: float | None) -> float:
    if do_sample is False:
        return 0.0
    return temperature if temperature is not None else float(bool(do_sample))


def _ids(ids: int | Sequence[int]) -> tuple[int, ...]:
    return (ids,) if isinstance(ids, int) else tuple(ids)


def _started(streamer: Streamer | None, prompt: Tensor) -> OnToken | None:
    """What tells the streamer of new ids; it has seen the prompt."""
    if streamer is None:
        return None
    if len(prompt) != 1:
        raise InputError(f"streamer with {len(prompt)} rows: it can follow one row only")
    streamer.put(prompt.cpu())

    def put(row: int, token: int, logprob: float) -> None:
        streamer.put(torch.tensor([token]))

    return put
