"""Clicks in the visitor's own browser: SAM's mask decoder in ONNX, run by onnxruntime-web; nothing from elsewhere.

The page's own policy allows no WebAssembly. It runs in a worker, whose answer brings a policy that does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from folioscope.export.onnx import DECODER
from folioscope.serve.page_routes import FOLDER
from folioscope.types import InputError

PREFIX = "/page/decoder"
"""Where the page finds its worker, and that what it runs on."""

WORKER = "worker.js"

RUNTIME = {
    "ort.wasm.min.mjs": "text/javascript",
    "ort-wasm-simd-threaded.mjs": "text/javascript",
    "ort-wasm-simd-threaded.wasm": "application/wasm",
}
"""What a worker loads of the npm package onnxruntime-web, from version 1.19 on, and as what."""

DIST = ("", "dist", "package/dist", "node_modules/onnxruntime-web/dist")
"""Where that lies in a folder: itself, the package unpacked from `npm pack`, or where `npm install` puts it."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def decoder_of(folder: Path) -> Path:
    """The folder's mask decoder. Raises InputError, saying what would do, if it is not there."""
    if not (path := folder / DECODER).is_file():
        how = f"`folioscope models export sam --decoder-only --onnx {folder}` writes it"
        raise InputError(f"{folder}: has no {DECODER}, as --browser-decoder needs; {how}")
    return path


def runtime_of(folder: Path) -> dict[str, Path]:
    """The files of onnxruntime-web in a folder, by name. Raises InputError, saying what would do, for one missing."""
    dist = next((folder / place for place in DIST if (folder / place / next(iter(RUNTIME))).is_file()), folder)
    files = {name: dist / name for name in RUNTIME}
    if missing := [name for name, path in files.items() if not path.is_file()]:
        how = f"`npm install --prefix {folder} onnxruntime-web` brings it"
        raise InputError(f"{folder}: has no {missing[0]}, as --browser-decoder needs; {how}")
    return files


def check_folder(folder: Path) -> None:
    """Raises InputError, before models are loaded, for what would be missed afterwards."""
    decoder_of(folder)
    runtime_of(folder)


class Runtime(StaticFiles):
    """The worker and what it runs on, by name; no path of a client's is looked for in any folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.files = {WORKER: FOLDER / WORKER, **runtime_of(folder)}

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        file = self.files.get(path)
        return (str(file), file.stat()) if file else ("", None)

    def file_response(self, full_path: Any, *args: Any, **more: Any) -> Response:
        answer = super().file_response(full_path, *args, **more)
        answer.headers.update(HEADERS)
        if kind := RUNTIME.get(Path(full_path).name):
            answer.headers["Content-Type"] = kind
        return answer
