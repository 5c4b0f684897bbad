"""`folioscope read`: data on stdout, the rest on stderr, files where they are wanted."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from folioscope.cli import app
from folioscope.cli.read import ALL_FORMATS as SHOWN_FORMATS
from folioscope.cli.read import FORMATS
from folioscope.config import MODES
from folioscope.docstrings import described
from folioscope.export import FORMATS as ALL_FORMATS
from folioscope.pages import PDF_DPI
from folioscope.placement import AUTO, DTYPES
from folioscope.tokens import PROMPTS
from folioscope.types import GenerateOptions
from scripted import raw, scripted_checkpoint, sheet, sheets

MARKDOWN = "# Hello\n\n![](images/0.jpg)\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return picture(tmp_path / "in" / "page.png")


def picture(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    sheet((40, 60)).save(path)
    return path


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(app, ["read", *map(str, arguments)], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def outcome(result: Result) -> tuple[int, str, str]:
    return result.exit_code, result.stdout, result.stderr


def test_markdown_goes_to_stdout(page: Path, model: Path) -> None:
    assert outcome(run(page, "--model", model)) == (0, MARKDOWN, "")


def test_documents_stand_a_blank_line_apart(page: Path, model: Path) -> None:
    other = picture(page.with_name("other.png"))
    assert outcome(run(page, other, page, "--model", model)) == (0, f"{MARKDOWN}\n{MARKDOWN}", "")


def test_files_go_to_a_folder_and_their_paths_to_stdout(page: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    result = run(page, "--model", model, "-o", out)
    names = ["page.md", "page_images/1_0.jpg", "page.json", "page_overlay.jpg"]
    assert outcome(result) == (0, "".join(f"{out / name}\n" for name in names), "")
    assert (out / "page.md").read_text() == "# Hello\n\n![](page_images/1_0.jpg)\n"
    content = json.loads((out / "page.json").read_text())
    assert (content["source"], content["pages"][0]["status"]) == (str(page), "ok")


def test_formats_are_chosen(page: Path, model: Path, tmp_path: Path) -> None:
    result = run(page, "--model", model, "-o", tmp_path / "out", "--format", "json, overlay")
    assert [Path(line).suffix for line in result.stdout.splitlines()] == [".json", ".jpg", ".jpg"]


def test_the_same_name_in_two_folders_is_numbered(page: Path, model: Path, tmp_path: Path) -> None:
    sources = [page, picture(tmp_path / "b" / "page.png"), picture(tmp_path / "c" / "Page.jpg")]
    result = run(*sources, "--model", model, "-o", tmp_path / "out", "--format", "md")
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "out").glob("*.md")} == {"page.md", "page_2.md", "Page_3.md"}
    assert "(page_2_images/1_0.jpg)" in (tmp_path / "out" / "page_2.md").read_text()


def test_what_is_there_is_refused_before_the_model_is_loaded(page: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text("mine")
    result = run(page, "--model", "no/such-model", "-o", tmp_path)
    message = f"folioscope: error: {page}: {tmp_path / 'page.json'} is there already; --force overwrites it\n"
    assert outcome(result) == (1, "", message)
    assert run(page, "--model", model, "-o", tmp_path, "--force").exit_code == 0
    assert json.loads((tmp_path / "page.json").read_text())["pages"]


def test_the_others_are_read_where_one_is_there(page: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("mine")
    other = picture(page.with_name("other.png"))
    result = run(page, other, "--model", model, "-o", tmp_path, "--format", "md")
    assert result.exit_code == 1
    assert (tmp_path / "page.md").read_text() == "mine"
    assert (tmp_path / "other.md").exists()


def test_text_is_streamed(page: Path, model: Path) -> None:
    other = picture(page.with_name("other.png"))
    result = run(page, other, "--model", model, "--stream")
    assert outcome(result) == (0, f"{raw()}\n\n{raw()}\n", "")


def test_stdin(page: Path, model: Path, tmp_path: Path) -> None:
    result = run("-", "--model", model, "-o", tmp_path / "out", "--format", "md", stdin=page.read_bytes())
    assert (result.exit_code, (tmp_path / "out" / "stdin.md").exists()) == (0, True)


def test_pages_prompt_mode_and_dpi(tmp_path: Path, model: Path) -> None:
    three = tmp_path / "three.pdf"
    three.write_bytes(sheets(3))
    out = ("-o", tmp_path / "out", "--format", "json")
    options = ("--pages", "2-3", "--prompt", "ocr", "--mode", "tiny", "--dpi", 72, "--batch-size", 2)
    assert run(three, "--model", model, *out, *options).exit_code == 0
    pages = json.loads((tmp_path / "out" / "three.json").read_text())["pages"]
    assert [(page["number"], page["markdown"], page["size"]) for page in pages] == [
        (2, "Total", [100, 50]),
        (3, "Total", [100, 50]),
    ]
    assert pages[0]["usage"]["image_tokens"] == 16 * 17 + 1


def test_truncated_pages_are_kept_with_a_warning(page: Path, model: Path) -> None:
    limited = ("--model", model, "--max-new-tokens", 3)
    warning = f"folioscope: warning: {page}: stopped after 3 tokens, before its end\n"
    assert outcome(run(page, *limited)) == (0, "# Hello\n", warning)
    assert outcome(run(page, *limited, "--quiet")) == (0, "# Hello\n", "")


def test_sampling_repeats_with_its_seed(shared, page: Path) -> None:
    toy = shared("golden", "deepseek_toy")
    drawn = [
        run(page, "--model", toy, "--mode", "tiny", "--max-new-tokens", 8, "--temperature", 1, "--seed", seed).stdout
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "huge"], "mode 'huge': there is no such mode"),
        (["--prompt", "mardkown"], "prompt 'mardkown': has no <image>"),
        (["--pages", "3-x"], 'pages="3-x": "3-x" is not a page or a range'),
        (["--retries", "-1"], "retries=-1: must be"),
        (["--temperature", "-1"], "temperature=-1.0: must be"),
        (["--max-new-tokens", "0"], "max_new_tokens=0: must be"),
        (["--format", "docx", "-o", "out"], "format 'docx': there is no such format; choose from md, json"),
        (["--format", "json"], '--format "json": needs -o DIR'),
        (["--stream", "--batch-size", "2"], "--stream shows one page at a time"),
        (["--device", "gpu"], "device 'gpu': not on this machine"),
        (["--dtype", "int3"], "dtype 'int3': there is no such dtype; choose from auto, float32"),
    ],
)
def test_wrong_commands_are_one_line_and_load_nothing(page: Path, arguments: list[str], message: str) -> None:
    result = run(page, *arguments, "--model", "no/such-model")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"folioscope: error: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["x.png", "--nope"], ["x.png", "--dpi", "0"], ["x.png", "-o", __file__]])
def test_usage(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage:" in result.stderr


def test_help_names_every_choice() -> None:
    words = re.findall(r"[\w.:]+", re.sub(r"\s+", " ", run("--help").stdout))
    choices = [*MODES, *ALL_FORMATS, *(prompt for prompt in PROMPTS if prompt != "locate"), AUTO, *DTYPES, str(PDF_DPI)]
    assert [choice for choice in choices if choice not in " ".join(words)] == []
    assert SHOWN_FORMATS.split(", ") == list(ALL_FORMATS)
    assert set(FORMATS.split(",")) <= set(ALL_FORMATS)


def test_options_that_are_fields_are_described_by_them() -> None:
    for name in ("max_new_tokens", "temperature", "seed"):
        assert described(GenerateOptions, name) in re.sub(r"\s+", " ", run("--help").stdout)
    assert described(GenerateOptions, "ngram_window").endswith("prompt included, as `infer` does.")
    assert described(GenerateOptions, "no_such_field") == ""


def test_animations_and_odd_pictures_are_read(tmp_path: Path, model: Path) -> None:
    tall, alpha, cmyk = Image.new("L", (1, 5000)), Image.new("RGBA", (9, 9)), Image.new("CMYK", (9, 9))
    tall.save(tmp_path / "tall.png")
    alpha.save(tmp_path / "alpha.png")
    cmyk.save(tmp_path / "cmyk.jpg")
    Image.new("I;16", (9, 9)).save(tmp_path / "deep.png")
    Image.new("P", (9, 9)).save(tmp_path / "palette.gif", save_all=True, append_images=[Image.new("P", (9, 9), 1)])
    result = run(tmp_path, "--model", model, "--prompt", "ocr", "--no-skip-blank")
    assert outcome(result) == (0, "\n".join(["Total\n"] * 5), "")


def test_undecodable_stdin_is_named(model: Path) -> None:
    result = run("-", "--model", model, stdin=io.BytesIO(b"no picture").getvalue())
    assert result.exit_code == 1
    assert "not a PDF, and has no picture header" in result.stderr


def test_how_markdown_is_written(page: Path, model: Path, tmp_path: Path) -> None:
    shown = run(page, "--model", model, "--paginate", "--figures", "placeholder").stdout
    assert shown == "<!-- page 1 -->\n\n# Hello\n\n<!-- figure 0 -->\n"
    run(page, "--model", model, "-o", tmp_path, "--format", "md", "--figures", "embed", "--no-clean")
    assert "](data:image/jpeg;base64," in (tmp_path / "page.md").read_text()
    assert run(page, "--model", model, "--tables", "csv").exit_code == 2
