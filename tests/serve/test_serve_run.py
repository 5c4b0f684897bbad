"""Where the server listens."""

from __future__ import annotations

import socket

import pytest

from folioscope.serve.run import _listen
from folioscope.types import InputError


def test_answers_are_not_held_back() -> None:
    """With Nagle's algorithm each answer of two parts takes 40 ms more than it needs."""
    with _listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_in_use_is_told() -> None:
    with _listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port}: cannot listen there"):
            _listen("127.0.0.1", port)
