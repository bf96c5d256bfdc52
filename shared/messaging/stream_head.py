"""The current end of a stream, from which a reader's lag is measured."""

from __future__ import annotations

from typing import Any

from shared.messaging.link import Link
from shared.messaging.stream_reader import StreamReader


class StreamHead:
    """Reads the last chunk of a stream on request.

    A passive declaration counts what retention has left, not where the stream ends; only a reader
    is given offsets.
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._link: Link | None = None
        self._reader: StreamReader | None = None
        self.offset: int | None = None
        """The offset of the last chunk's first message; None before the first answer."""

    def connected(self, link: Link) -> None:
        self._link = link

    def disconnected(self) -> None:
        # A broker that lost its data comes back with streams that begin again.
        self._reader = self.offset = None

    def ask(self) -> None:
        """Look again; the answer is in ``offset`` when it has come."""
        if self._link is not None:
            self._link.call(self._ask)

    def _ask(self) -> None:
        waits = self._reader is not None and self._reader.is_open
        if self._link is not None and not waits:
            self._reader = StreamReader(self.stream, "last", self._seen, prefetch=1)
            self._reader.open(self._link)

    def _seen(self, headers: dict[str, Any]) -> bool:
        offset = headers.get("x-stream-offset")
        if isinstance(offset, int):
            self.offset = max(offset, self.offset or 0)
        return True
