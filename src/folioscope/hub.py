"""Where checkpoints come from and go to: a folder, the one inside this package, or the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from folioscope.tokens import Tokenizer
from folioscope.types import CheckpointError

EMBEDDED = Path(__file__).parent / "checkpoints" / "reader"
SEGMENTER = EMBEDDED.with_name("segmenter")
"""The folders inside this package."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

CONFIG_FILES = ("config.json", "tokenizer*.json", "special_tokens_map.json", "*processor_config.json")
SAFETENSORS = ("model*.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


def resolve(
    path_or_id: str | Path | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    weights: bool = True,
) -> Path:
    """The folder of a checkpoint, downloaded if need be.

    Args:
        path_or_id: A folder; a hub id such as "deepseek-ai/DeepSeek-OCR"; or None for the embedded reader.
        revision: Branch, tag or commit on the hub.
        token: Hub token; None uses the one that is logged in, if any.
        cache_dir: Where downloads are kept; None is the hub's own cache.
        local_files_only: Use what is in the cache and never the network, as HF_HUB_OFFLINE=1 does.
        weights: False leaves the weights out of a download.

    Raises:
        CheckpointError: There is no such folder or model, or it cannot be fetched.
    """
    if path_or_id is None:
        return _embedded()
    path = Path(path_or_id).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(f"{path}: is a file; give the folder it is in")
    if isinstance(path_or_id, Path) or not HUB_ID.fullmatch(path_or_id):
        raise CheckpointError(f"{path}: no such folder; give a checkpoint's folder or a hub id (owner/name)")
    where = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
    folder = _snapshot(path_or_id, CONFIG_FILES + (SAFETENSORS if weights else ()), where)
    if weights and not any(folder.glob(SAFETENSORS[0])):
        folder = _snapshot(path_or_id, CONFIG_FILES + PICKLES, where)
    return folder


def _embedded() -> Path:
    if not EMBEDDED.is_dir():
        raise CheckpointError("this installation has no embedded reader; give a checkpoint's folder or a hub id")
    return EMBEDDED


def _snapshot(repo_id: str, patterns: tuple[str, ...], where: dict[str, object]) -> Path:
    from huggingface_hub import snapshot_download  # a quarter second that a local folder need not cost

    try:
        return Path(snapshot_download(repo_id, allow_patterns=list(patterns), **where))  # pyright: ignore
    except Exception as error:  # whatever its HTTP library of the day raises
        raise CheckpointError(f"{repo_id}: {_explanation(error, where['revision'])}") from error


def _explanation(error: Exception, revision: object = None) -> str:
    """What went wrong on the hub and what would do, in one line."""
    from huggingface_hub import errors

    reason = f" ({_one_line(error.__cause__)})" if error.__cause__ else ""
    known = (
        (errors.GatedRepoError, "access must be granted: ask on the model's hub page, then `hf auth login` or token="),
        (errors.RepositoryNotFoundError, "no such folder and no such model on the hub; if it is private, pass token="),
        (errors.RevisionNotFoundError, f"the hub has no revision {revision!r} of it; leave revision= out"),
        (errors.LocalEntryNotFoundError, "no such folder, not whole in the cache, and the hub is out of reach"
         f"{reason}; go online once (HF_HUB_OFFLINE unset), or give a checkpoint's folder"),
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE is set; unset it to reach the hub"),
        (errors.HFValidationError, "not a hub id; give a checkpoint's folder or owner/name"),
    )  # fmt: skip
    for kind, text in known:
        if isinstance(error, kind):
            return text
    return f"the hub failed ({_one_line(error)}); try again"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool = False,
    commit_message: str = "Upload with folioscope",
) -> str:
    """Upload every file of a checkpoint's folder in one commit; return the commit's address.

    The model is created on the hub if it is not there. Raises CheckpointError when that or the upload fails.
    """
    if not (Path(folder) / "config.json").is_file():
        raise CheckpointError(f"{folder}: holds no config.json; give a folder written by save_pretrained")
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        repo = api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repo.repo_id, folder_path=folder, commit_message=commit_message)
    except Exception as error:  # whatever its HTTP library of the day raises
        raise CheckpointError(f"{repo_id}: {_explanation(error)}") from error
    return commit.commit_url


class AutoTokenizer:
    """The name under which users of the published models look for the tokenizer."""

    @staticmethod
    def from_pretrained(
        path_or_id: str | Path | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
    ) -> Tokenizer:
        """Load a checkpoint's tokenizer; a hub id downloads no weights. See `resolve` for the arguments.

        `trust_remote_code` is taken because published examples pass it; no remote code is ever run.
        """
        folder = resolve(
            path_or_id,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            weights=False,
        )
        return Tokenizer.from_directory(folder)
