"""Checkpoints from folders, from the cache, and from a hub that is a small server in this process."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub.constants
import pytest

from folioscope.hub import EMBEDDED, AutoTokenizer, push_to_hub, resolve
from folioscope.types import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "somebody/reader"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download needs: the commit of a revision, its files, and their content."""

    files: dict[str, bytes]
    refuse: tuple[int, str] | None
    asked: list[str]

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        if self.refuse:
            self.answer(self.refuse[0], b"{}", {"X-Error-Code": self.refuse[1]})
        elif path.startswith(f"/api/models/{REPO}/tree/"):
            tree = [{"type": "file", "path": k, "size": len(v), "oid": f"{k}"} for k, v in self.files.items()]
            self.answer(200, json.dumps(tree).encode())
        elif path.startswith(f"/api/models/{REPO}"):
            siblings = [{"rfilename": name} for name in self.files]
            self.answer(200, json.dumps({"id": REPO, "sha": COMMIT, "siblings": siblings}).encode())
        else:
            name = path.split("/")[-1]
            self.answer(200, self.files[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Take an upload: create the model, say how files are to be sent, and keep those of a commit."""
        path, body = self.path.split("?")[0], self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/api/repos/create":
            self.asked.append(body.decode())
            answer = {"url": f"http://{self.headers['Host']}/{REPO}"}
        elif path.endswith("/preupload/main"):
            how = {"uploadMode": "regular", "shouldIgnore": False}
            answer = {"files": [{"path": file["path"], **how} for file in json.loads(body)["files"]]}
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            self.files.update({file["path"]: b64decode(file["content"]) for file in files})
            self.asked.append(lines[0]["value"]["summary"])
            answer = {"commitUrl": f"/{REPO}/commit/{COMMIT}", "commitOid": COMMIT}
        self.answer(200, json.dumps(answer).encode())

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """The hub, online, holding nothing yet."""

    class ThisHub(Hub):
        files, refuse, asked = {}, None, []

    with ThreadingHTTPServer(("127.0.0.1", 0), ThisHub) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
        template = template.replace(huggingface_hub.constants.ENDPOINT, address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield ThisHub
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds one model with a config and weights."""
    storage = tmp_path / "models--somebody--reader"
    snapshot = storage / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").touch()
    return tmp_path


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert resolve(tmp_path) == tmp_path
    assert resolve(str(tmp_path)) == tmp_path


def test_none_is_the_embedded_reader() -> None:
    if not EMBEDDED.is_dir():
        pytest.skip("the embedded reader is not here")
    assert (resolve() / "config.json").is_file()


def test_without_an_embedded_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("folioscope.hub.EMBEDDED", tmp_path / "gone")
    with pytest.raises(CheckpointError, match="no embedded reader; give a checkpoint's folder or a hub id"):
        resolve()


@pytest.mark.parametrize("name", ["./runs/model", "/nowhere/at/all", "model", "a/b/c", "~/no/such", Path("a/b")])
def test_what_is_neither_folder_nor_id(name: str | Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(CheckpointError, match=r"no such folder; give a checkpoint's folder or a hub id"):
        resolve(name)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is a file; give the folder it is in"):
        resolve(tmp_path / "model.safetensors")


@pytest.mark.parametrize("settings", [{}, {"local_files_only": True}, {"revision": COMMIT}])
def test_the_cache_serves_offline(cache: Path, settings: dict) -> None:
    folder = resolve(REPO, cache_dir=cache, **settings)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("settings", [{}, {"local_files_only": True}])
@pytest.mark.parametrize(("name", "revision"), [("somebody/else", None), (REPO, "v2")])
def test_what_the_cache_lacks_offline(cache: Path, name: str, revision: str | None, settings: dict) -> None:
    with pytest.raises(
        CheckpointError, match=f"{name}: no such folder, not whole in the cache.*go online once"
    ) as caught:
        resolve(name, revision=revision, cache_dir=cache, **settings)
    assert "\n" not in str(caught.value)


def test_a_download_fetches_what_is_needed(hub: type[Hub], tmp_path: Path) -> None:
    names = ["config.json", "model-00001-of-000001.safetensors", "model.safetensors.index.json", "tokenizer.json"]
    unneeded = ["modeling.py", "README.md", "pytorch_model.bin", "figure.png"]
    hub.files = {name: name.encode() for name in names + unneeded}
    folder = resolve(REPO, cache_dir=tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "config.json").read_text() == "config.json"


def test_pickles_are_fetched_only_without_safetensors(hub: type[Hub], tmp_path: Path) -> None:
    hub.files = dict.fromkeys(("config.json", "pytorch_model.bin"), b"{}")
    assert sorted(path.name for path in resolve(REPO, cache_dir=tmp_path).iterdir()) == [*hub.files]


def test_a_tokenizer_comes_without_weights(hub: type[Hub], shared: Callable[..., Path], tmp_path: Path) -> None:
    vocabulary = shared("golden", "deepseek_toy", "tokenizer.json").read_bytes()
    hub.files = {"config.json": b"{}", "model.safetensors": b"", "tokenizer.json": vocabulary}
    tokenizer = AutoTokenizer.from_pretrained(REPO, cache_dir=tmp_path, trust_remote_code=True)
    assert tokenizer.image_id == 500
    assert not any("safetensors" in path for path in hub.asked)


def test_a_tokenizer_from_a_folder(shared: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copy(shared("golden", "deepseek_toy", "tokenizer.json"), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.decode(tokenizer.encode("Größe <image>")) == "Größe <image>"


REFUSALS = [
    ((403, "GatedRepo"), "access must be granted: ask on the model's hub page"),
    ((404, "RepoNotFound"), "no such folder and no such model on the hub; if it is private, pass token="),
    ((404, "RevisionNotFound"), "the hub has no revision 'v9' of it; leave revision= out"),
    ((400, ""), r"no such folder, not whole in the cache, and the hub is out of reach \(.+\); go online"),
]


@pytest.mark.parametrize(("refuse", "message"), REFUSALS)
def test_what_the_hub_refuses(hub: type[Hub], tmp_path: Path, refuse: tuple[int, str], message: str) -> None:
    hub.refuse = refuse
    with pytest.raises(CheckpointError, match=f"{REPO}: {message}") as caught:
        resolve(REPO, revision="v9", cache_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_pushing(hub: type[Hub], tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"[]"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    address = push_to_hub(tmp_path, REPO, token="hf_secret", private=True, commit_message="A better reader")
    assert address.endswith(COMMIT)
    assert hub.files == files
    creation, summary = hub.asked
    assert "private" in creation
    assert summary == "A better reader"


def test_pushing_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        push_to_hub(tmp_path, REPO)


def test_pushing_offline(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"somebody/reader: HF_HUB_OFFLINE is set; unset it"):
        push_to_hub(tmp_path, REPO)
