"""Messages over a pipe: a JSON object and bytes, each with its length. Standard library alone: devices run it too."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any

MAGIC = b"\n#edgesmith-agent#\n"  # what a login shell may print before it is skipped
CHUNK = 1 << 20
_HEAD = struct.Struct(">II")
_MOST = 1 << 28  # a longer message than this is none of ours


def pack(message: dict[str, Any], body: bytes = b"") -> bytes:
    """One message as bytes; file names that are no Unicode travel as surrogates."""
    text = json.dumps(message).encode()
    return _HEAD.pack(len(text), len(body)) + text + body


class Reader:
    """Messages from a file descriptor, with a time limit a message."""

    def __init__(self, handle: int) -> None:
        self._handle, self._rest = handle, b""

    def waiting(self) -> bool:
        """Whether something has come (or the other side has gone), without waiting for it."""
        return bool(self._rest) or bool(select.select([self._handle], [], [], 0)[0])

    def skip_to(self, mark: bytes, timeout_s: float) -> None:
        """Drop everything up to `mark`. Raises: EOFError, TimeoutError."""
        self._read(lambda: mark in self._rest or len(self._rest) > CHUNK, time.monotonic() + timeout_s)
        before, found, self._rest = self._rest.partition(mark)
        if not found:
            raise EOFError(f"{before[:80]!r} came instead of an answer")

    def read(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """The next message. Raises: EOFError when the other side has gone, TimeoutError."""
        deadline = time.monotonic() + timeout_s
        self._read(lambda: len(self._rest) >= _HEAD.size, deadline)
        text_size, body_size = _HEAD.unpack(self._rest[: _HEAD.size])
        if text_size + body_size > _MOST:
            raise EOFError("what came is no message")
        end = _HEAD.size + text_size + body_size
        self._read(lambda: len(self._rest) >= end, deadline)
        text, body = self._rest[_HEAD.size : _HEAD.size + text_size], self._rest[_HEAD.size + text_size : end]
        self._rest = self._rest[end:]
        message = json.loads(text)
        if not isinstance(message, dict):
            raise EOFError("what came is no message")
        return message, body

    def _read(self, enough: Callable[[], bool], deadline: float) -> None:
        parts = [self._rest]
        while not enough():
            ready, _, _ = select.select([self._handle], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("no answer")
            chunk = os.read(self._handle, CHUNK)
            if not chunk:
                raise EOFError("the other side has gone")
            parts.append(chunk)
            self._rest = b"".join(parts)
            parts = [self._rest]
