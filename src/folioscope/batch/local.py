"""The engine for one machine, or for many that each start it: processes that share out what is to be done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from folioscope.batch.plan import Run
from folioscope.batch.settings import Here
from folioscope.types import OutputError

LOOK_SECONDS, TELL_SECONDS = 0.2, 2.0
RESTARTS = 5
"""How often workers that died are replaced, for each worker asked for."""

STOPPED = (1, 130)
"""Exit codes of workers that said why they stopped, or were told to."""


def run_local(run: Run, here: Here, workers: int, progress: Callable[[], None] = lambda: None) -> None:
    """Work at the run with so many processes until it is done; dead ones are replaced.

    Args:
        progress: Called now and then.

    Raises:
        OutputError: A worker cannot go on; it has said why on stderr.
    """
    if here.threads is None and workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        here = replace(here, threads=max(1, (os.cpu_count() or 1) // workers))
    crew = {index: _start(replace(here, index=index)) for index in range(workers)}
    restarts, told = RESTARTS * workers, 0.0
    try:
        while crew:
            time.sleep(LOOK_SECONDS)
            if time.monotonic() > told + TELL_SECONDS:
                progress()
                told = time.monotonic()
            for index, process in list(crew.items()):
                code = process.poll()
                if code is None:
                    continue
                del crew[index]
                if code in STOPPED:
                    raise OutputError(f"{here.out}: a worker stopped; give the command again to go on")
                if code != 0 and restarts:
                    restarts -= 1
                    crew[index] = _start(replace(here, index=index))
    finally:
        _end(list(crew.values()))
    if any(True for _ in run.pending()):
        raise OutputError(f"{here.out}: workers died {RESTARTS * workers} times; give the command again to go on")


def _start(here: Here) -> subprocess.Popen[str]:
    # this package, however this process found it
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "folioscope.batch.worker"],
        stdin=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"here": asdict(here), "parent": os.getpid()}) + "\n")
    process.stdin.close()
    return process


def _end(crew: list[subprocess.Popen[str]]) -> None:
    for process in crew:
        process.terminate()
    for process in crew:
        process.wait()
