"""Jobs in an SQLite file: what is to be read, and what of it is. Any number of servers may share the folder."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from folioscope.serve.inputs import Upload
from folioscope.serve.kept import kept_page
from folioscope.types import OutputError, PageResult

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]

LEASE_SECONDS = 10.0
"""A server that says nothing about a running job for so long is taken for dead."""

STARTS = 3
"""A job that so many servers died of is not tried again."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, created REAL NOT NULL, finished REAL, status TEXT NOT NULL, error TEXT,
    name TEXT NOT NULL, data BLOB NOT NULL, fields TEXT NOT NULL, numbers TEXT NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0, owner TEXT, lease REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS pages (
    job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, number INTEGER NOT NULL, result TEXT NOT NULL,
    PRIMARY KEY (job, number)
);
"""

COLUMNS = "id, created, finished, status, error, name, fields, numbers, starts"


@dataclass(frozen=True)
class Job:
    """A document to be read, or that was.

    Attributes:
        fields: As the client gave them.
        numbers: Of the pages to read.
        done: Of those that are read.
        starts: How often a server began with it.
    """

    id: str
    created: float
    finished: float | None
    status: JobStatus
    error: str | None
    name: str
    fields: dict[str, Any]
    numbers: tuple[int, ...]
    starts: int
    done: tuple[int, ...] = field(default=())

    @property
    def over(self) -> bool:
        return self.status not in ("queued", "running")


class Jobs:
    """The file; every thread may use it. Raises OutputError if the folder cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(folder / "jobs.sqlite3", check_same_thread=False, timeout=30)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA foreign_keys=ON")
            self._file.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{folder}: jobs cannot be kept there ({error}); choose another folder") from error

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def add(self, upload: Upload, fields: dict[str, Any], numbers: Sequence[int], status: JobStatus = "queued") -> Job:
        name, now = secrets.token_urlsafe(16), time.time()
        what = (upload.name, upload.data, json.dumps(fields), json.dumps(list(numbers)))
        self._write(
            "INSERT INTO jobs (id, created, finished, status, name, data, fields, numbers) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (name, now, now if status == "done" else None, status, *what),
        )
        return self[name]

    def add_done(self, upload: Upload, fields: dict[str, Any], pages: Sequence[PageResult]) -> str:
        """Keep what was read elsewhere as a job that is over; returns its id."""
        job = self.add(upload, fields, [page.number for page in pages], status="done")
        for page in pages:
            self.keep_page(job.id, page.number, kept_page(page))
        return job.id

    def __getitem__(self, name: str) -> Job:
        """Raises KeyError."""
        rows = self._read(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (name,))
        if not rows:
            raise KeyError(name)
        done = self._read("SELECT number FROM pages WHERE job = ? ORDER BY number", (name,))
        row = dict(zip(COLUMNS.split(", "), rows[0], strict=True))
        parsed = {"fields": json.loads(row["fields"]), "numbers": tuple(json.loads(row["numbers"]))}
        return Job(**{**row, **parsed, "done": tuple(number for (number,) in done)})

    def waiting(self) -> int:
        return self._read("SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')")[0][0]

    def upload(self, name: str) -> Upload:
        ((data, called),) = self._read("SELECT data, name FROM jobs WHERE id = ?", (name,))
        return Upload(data, called)

    def claim(self, owner: str) -> Job | None:
        """The oldest job that nobody works on, from now on this owner's; those that many died of fail."""
        now = time.time()
        problem = f"the server stopped {STARTS} times while it read this; it is not tried again"
        abandoned = "status = 'running' AND lease < ?"
        self._write(
            f"UPDATE jobs SET status = 'failed', finished = ?, error = ? WHERE {abandoned} AND starts >= ?",
            (now, problem, now, STARTS),
        )
        rows = self._write(
            "UPDATE jobs SET status = 'running', owner = ?, lease = ?, starts = starts + 1 WHERE id = (SELECT id FROM "
            f"jobs WHERE status = 'queued' OR ({abandoned}) ORDER BY created LIMIT 1) RETURNING id",
            (owner, now + LEASE_SECONDS, now),
        )
        return self[rows[0][0]] if rows else None

    def renew(self, name: str, owner: str) -> bool:
        """Say that it is worked on; False if it is not to be, any more: cancelled, deleted, or another's."""
        return bool(
            self._write(
                "UPDATE jobs SET lease = ? WHERE id = ? AND owner = ? AND status = 'running' RETURNING id",
                (time.time() + LEASE_SECONDS, name, owner),
            )
        )

    def keep_page(self, name: str, number: int, result: str) -> None:
        """Of a job that was deleted meanwhile, nothing is kept."""
        query = "INSERT OR REPLACE INTO pages SELECT id, ?, ? FROM jobs WHERE id = ?"
        self._write(query, (number, result, name))

    def pages(self, name: str) -> list[str]:
        """The results of its pages, in order."""
        return [result for (result,) in self._read("SELECT result FROM pages WHERE job = ? ORDER BY number", (name,))]

    def finish(self, name: str, status: JobStatus, error: str | None = None) -> None:
        """Unless it is over already."""
        self._write(
            "UPDATE jobs SET status = ?, error = ?, finished = ? WHERE id = ? AND status IN ('queued', 'running')",
            (status, error, time.time(), name),
        )

    def give_back(self, name: str, owner: str) -> None:
        """The owner stops, and the job waits for the next; that is no death."""
        self._write(
            "UPDATE jobs SET status = 'queued', owner = NULL, starts = starts - 1 WHERE id = ? AND owner = ? AND "
            "status = 'running'",
            (name, owner),
        )

    def delete(self, name: str) -> None:
        self._write("DELETE FROM jobs WHERE id = ?", (name,))

    def forget(self, days: float) -> None:
        """Delete what has been over for so long."""
        self._write("DELETE FROM jobs WHERE finished < ?", (time.time() - 86400 * days,))

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._file.execute(query, values).fetchall()

    def _write(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, self._file:
            return cast("list[Any]", self._file.execute(query, values).fetchall())
