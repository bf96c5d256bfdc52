"""Reads the headers of one message of a stream without affecting other readers."""

from __future__ import annotations

import threading
from typing import Any

from shared.messaging.link import Link
from shared.messaging.stream_reader import StreamReader


class StreamPeek:
    """Reads the headers of the first message at or after an offset."""

    def __init__(self, link: Link, stream: str, offset: int) -> None:
        self._link, self._offset = link, offset
        self._reader = StreamReader(stream, offset, self._seen, prefetch=100)
        self._answered = threading.Event()
        self._headers: dict[str, Any] | None = None

    def headers(self, timeout_s: float) -> dict[str, Any] | None:
        """The answer, or None if it has not come in time; not from the link's own thread."""
        self._link.call(lambda: self._reader.open(self._link))
        self._answered.wait(timeout_s)
        self._link.call(self._reader.close)
        return self._headers

    def _seen(self, headers: dict[str, Any]) -> bool:
        # A chunk is delivered whole: its first messages may lie before the offset.
        if int(headers.get("x-stream-offset", -1)) < self._offset:
            return False
        if self._headers is None:
            self._headers = headers
            self._answered.set()
        return True
