"""The embedded reader's tokenizer: one token a byte, and the published special tokens."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

_FIRST = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>")
_LAST = (
    *("<image>", "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>"),
    *("<td>", "</td>", "<tr>", "</tr>", "<|User|>", "<|Assistant|>"),
)
_QUESTIONS = ("Convert the document to markdown.", "Free OCR.", "OCR this image.")
"""One token each instead of some thirty: every training sequence starts with one of them."""


def byte_tokenizer() -> Tokenizer:
    """A byte-level BPE without merges: 3 specials, 256 bytes, 12 specials in the published order, 3 questions."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*_FIRST, *alphabet, *_LAST))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (*_FIRST, *_LAST)])
    tokenizer.add_tokens([AddedToken(question, normalized=False) for question in _QUESTIONS])
    return tokenizer


def save_tokenizer(folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` as the hub has them."""
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "LlamaTokenizerFast",
        "bos_token": _FIRST[0],
        "eos_token": _FIRST[1],
        "pad_token": _FIRST[2],
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
