"""Text → token ids with the run of image slots, and token ids → text, byte for byte."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import tokenizers

from folioscope.types import CheckpointError, InputError, OutputError

IMAGE = "<image>"
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
PUBLISHED_IDS = {BOS: 0, EOS: 1, PAD: 2}

VOCABULARY = "tokenizer.json"
SETTINGS = {
    "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
    },
    "special_tokens_map.json": {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD},
}
"""Files that other libraries want beside `tokenizer.json`, for a checkpoint that came without."""

PROMPTS: Mapping[str, str] = {
    "markdown": "<image>\n<|grounding|>Convert the document to markdown.",
    "ocr": "<image>\n<|grounding|>OCR this image.",
    "free": "<image>\nFree OCR.",
    "figure": "<image>\nParse the figure.",
    "describe": "<image>\nDescribe this image in detail.",
    "locate": "<image>\nLocate <|ref|>xxxx<|/ref|> in the image.",
}
"""The published prompts by name; `xxxx` stands for the words to locate."""

LOCATE_WORDS = "xxxx"


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte, which byte-level BPE spells its tokens in."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_alphabet()


class Tokenizer:
    """The byte-level BPE of a checkpoint. Special tokens are kept in both directions.

    Attributes:
        image_id, bos_id, eos_id, pad_id: Ids of the tokens with a meaning of their own.
    """

    def __init__(self, files: Mapping[str, bytes], source: str = VOCABULARY) -> None:
        """From the content of `tokenizer.json` and, if there are any, the files beside it, by name.

        Raises CheckpointError, naming `source`, if it is not a byte-level tokenizer with an `<image>` token.
        """
        self._files = dict(files)
        self._bpe = _load(self._files[VOCABULARY], source)
        image_id = self._bpe.token_to_id(IMAGE)
        if image_id is None:
            raise CheckpointError(f"{source}: has no {IMAGE} token; it is not the tokenizer of a DeepSeek-OCR model")
        self.image_id: int = image_id
        self.bos_id, self.eos_id, self.pad_id = (self._id_or_published(token) for token in (BOS, EOS, PAD))

    def _id_or_published(self, token: str) -> int:
        found = self._bpe.token_to_id(token)
        return PUBLISHED_IDS[token] if found is None else found

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Load one `tokenizer.json`. Raises CheckpointError if it is missing or broken."""
        return cls({VOCABULARY: _read(Path(path))}, str(path))

    @classmethod
    def from_directory(cls, directory: str | os.PathLike[str]) -> Tokenizer:
        """Load a checkpoint's `tokenizer.json`, and keep the files beside it for saving."""
        folder = Path(directory)
        beside = {name: folder / name for name in SETTINGS if (folder / name).is_file()}
        paths = {VOCABULARY: folder / VOCABULARY, **beside}
        return cls({name: _read(path) for name, path in paths.items()}, str(folder / VOCABULARY))

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write the files as they were loaded, and the published settings for those that were not there."""
        folder = Path(directory)
        written = {name: json.dumps(settings, ensure_ascii=False).encode() for name, settings in SETTINGS.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in {**written, **self._files}.items():
                (folder / name).write_bytes(content)
        except OSError as error:
            raise OutputError(f"{folder}: the tokenizer cannot be saved here: {error.strerror}") from error

    def __len__(self) -> int:
        """Tokens it knows; the model may have spare rows beyond."""
        return self._bpe.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Ids of `text`; special tokens spelled in it become their own ids. `add_special_tokens` puts bos in front."""
        return self._bpe.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """Text of `ids`; ids it does not know are silent. Skipping special tokens also loses `<td>` and `<|ref|>`."""
        return self._bpe.decode([int(token) for token in ids], skip_special_tokens=skip_special_tokens)

    def token_bytes(self, token: int) -> bytes:
        """The bytes one id stands for, which may begin or end within a character; empty for an unknown id."""
        spelled = self._bpe.id_to_token(token) or ""
        if all(character in _BYTES for character in spelled):
            return bytes(_BYTES[character] for character in spelled)
        return spelled.encode()

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> int | list[int | None] | None:
        """The id of one token, or of each; None for what is not a token."""
        if isinstance(tokens, str):
            return self._bpe.token_to_id(tokens)
        return [self._bpe.token_to_id(token) for token in tokens]

    @property
    def bos_token_id(self) -> int:
        return self.bos_id

    @property
    def eos_token_id(self) -> int:
        return self.eos_id

    @property
    def pad_token_id(self) -> int:
        return self.pad_id


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; a checkpoint needs its {VOCABULARY}") from error


def _load(content: bytes, source: str) -> tokenizers.Tokenizer:
    try:
        bpe = tokenizers.Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{source}: not a {VOCABULARY} that can be read: {error}") from error
    if not isinstance(bpe.decoder, tokenizers.decoders.ByteLevel):
        raise CheckpointError(
            f"{source}: its decoder is not ByteLevel; it is not the tokenizer of a DeepSeek-OCR model"
        )
    # A file saved during training may still cut or pad what it encodes.
    bpe.no_truncation()
    bpe.no_padding()
    return bpe


def prompt_text(prompt: str) -> str:
    """The text of a prompt: a preset's name, `locate:WORDS`, or a text of your own with one `<image>` in it.

    Raises InputError, listing the presets, for anything else.
    """
    name, _, words = prompt.partition(":")
    if name == "locate" and IMAGE not in prompt:
        if not words.strip():
            raise InputError(f'prompt "{prompt}": say what to locate, as in "locate:Total amount"')
        return PROMPTS[name].replace(LOCATE_WORDS, words.strip())
    text = PROMPTS.get(prompt, prompt)
    _around_image(text)
    return text


def _around_image(text: str) -> tuple[str, str]:
    parts = text.split(IMAGE)
    if len(parts) != 2:
        wrong = f"has {len(parts) - 1} {IMAGE} marks, one page takes one" if len(parts) > 2 else f"has no {IMAGE} mark"
        presets = ", ".join(name if name != "locate" else "locate:WORDS" for name in PROMPTS)
        raise InputError(f"prompt {text!r}: {wrong}; use one of {presets}, or a text with one {IMAGE} in it")
    return parts[0], parts[1]


def slot_count(tokens_per_side_global: int, tokens_per_side_tile: int, grid: tuple[int, int]) -> int:
    """Image slots of a page: every row of tokens ends in a newline, and a separator ends them all.

    `grid` is columns and rows of tiles, (1, 1) without tiles.
    """
    side, (columns, rows) = tokens_per_side_tile, grid
    tiles = rows * side * (columns * side + 1) if grid != (1, 1) else 0
    return tiles + tokens_per_side_global * (tokens_per_side_global + 1) + 1


@dataclass(frozen=True)
class EncodedPrompt:
    """The ids a page's answer is decoded from; `image_mask` is True where an image feature takes the slot."""

    ids: tuple[int, ...]
    image_mask: tuple[bool, ...]


def encode_prompt(tokenizer: Tokenizer, prompt: str, slots: int) -> EncodedPrompt:
    """bos, the stripped prompt, and `slots` image ids where it says `<image>`; no eos, as published.

    Raises InputError for a prompt without `<image>` or with more than one.
    """
    before, after = _around_image(prompt.strip())
    head, tail = [tokenizer.bos_id, *tokenizer.encode(before)], tokenizer.encode(after)
    ids = (*head, *(tokenizer.image_id,) * slots, *tail)
    return EncodedPrompt(ids, (False,) * len(head) + (True,) * slots + (False,) * len(tail))


class TextStream:
    """Decodes ids as they come, never half a character; the pieces join to `decode` of all ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that this id makes certain; empty while a character is not complete."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """What is left when no more ids come: empty, or U+FFFD for a character cut short."""
        return self._decoder.decode(b"", final=True)


def token_spans(tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[int, int]]:
    """For each id, the [start, end) characters of `decode(ids)` that it completes; the last takes a cut-off rest."""
    stream, ends = TextStream(tokenizer), [0]
    for token in ids:
        ends.append(ends[-1] + len(stream.push(token)))
    ends[-1] += len(stream.finish())
    return list(pairwise(ends))
