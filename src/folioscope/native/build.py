"""Compile the C files with the machine's C compiler. Standard library only: the wheel's build runs this file too."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.c")))
HEADERS = tuple(sorted(Path(__file__).parent.glob("*.h")))
BUILT = Path(__file__).with_name("_kernels.so")
"""Where a wheel has the library. A checkout has none: there it is compiled into the user's cache when first needed."""

FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-fno-math-errno")
QUIET = ("-fno-trapping-math", "-w", "-lm")
SECONDS = 1200


def compiler() -> str | None:
    """The C compiler: $CC, the one Python was made with, or cc, gcc, clang; None if there is none."""
    names = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name.split()[0]))), None)


def compile_kernels(target: Path) -> bool:
    """Compile to `target`, which appears whole or not at all; False if there is no compiler or it fails."""
    command = compiler()
    if command is None:
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compiling-") as staging:
            made = Path(staging, target.name)
            arguments = [command, *FLAGS, *map(str, SOURCES), "-o", str(made), *QUIET]
            subprocess.run(arguments, check=True, capture_output=True, timeout=SECONDS)
            os.replace(made, target)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def cached() -> Path:
    """The file in the user's cache that belongs to these sources, these flags and this kind of machine."""
    root = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    sources = b"".join(source.read_bytes() for source in SOURCES + HEADERS)
    key = hashlib.sha256(sources + repr((FLAGS, platform.system(), platform.machine())).encode())
    return Path(root).expanduser() / "folioscope" / f"kernels-{key.hexdigest()[:16]}.so"
