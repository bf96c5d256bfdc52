"""A connection that gives several frames to the operating system in one piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pika.adapters.select_connection import SelectConnection

_AT_ONCE = 64 * 1024
"""Bytes after which what was gathered is sent: a piece that is sent in part is copied."""


class GatheringConnection(SelectConnection):  # type: ignore[misc] # pika has no types
    """pika's connection, which otherwise sends each frame by itself.

    A message has three frames. Each send is a call of the system in which another thread takes the
    interpreter, and on a socket without delay a packet, which the broker reads by itself as well.
    """

    _pieces: list[bytes] | None = None
    _gathered = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send what is written in the block in few pieces, the last of them when it ends."""
        if self._pieces is not None:
            yield
            return
        self._pieces = []
        try:
            yield
        finally:
            pieces, self._pieces, self._gathered = self._pieces, None, 0
            self._emit(pieces)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._pieces is None:
            super()._adapter_emit_data(data)
            return
        self._pieces.append(data)
        self._gathered += len(data)
        if self._gathered >= _AT_ONCE:
            pieces, self._pieces, self._gathered = self._pieces, [], 0
            self._emit(pieces)

    def _emit(self, pieces: list[bytes]) -> None:
        if pieces:
            super()._adapter_emit_data(b"".join(pieces))
