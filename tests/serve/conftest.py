"""Servers that the tests of a session share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from live_server import endless_reader, scripted_reader, served

from folioscope.read import Reader
from folioscope.serve.options import ServeOptions


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return scripted_reader(tmp_path_factory.mktemp("scripted"))


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return endless_reader(tmp_path_factory.mktemp("endless"))


@pytest.fixture(scope="session")
def server(scripted: Reader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Answers at once, as scripted."""
    with served(scripted, ServeOptions(data=tmp_path_factory.mktemp("data"))) as address:
        yield address
