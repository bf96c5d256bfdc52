"""Finds out whether a stream has reached an offset."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from pika.channel import Channel
from pika.frame import Method
from pika.spec import Queue

from shared.messaging.link import Link
from shared.messaging.stream_reader import StreamReader

_AT_ONCE = 100


class StreamEnd:
    """Finds out whether a stream reaches as far as an offset.

    A state that was stored with an offset fits only the stream it was made from. A broker that lost
    its data, or a new one beside a restored backup, has streams of the same names that begin again.

    Offsets come with messages alone. A reader at the offset says that the stream reaches so far.
    That it ends before follows from its first message and from the count of a passive declaration,
    which must not contradict the beginning of the last chunk. Nothing follows from silence alone,
    which a busy broker is capable of. The count of a stream that the broker has not found yet is 0,
    too: it is asked for once a reader is attached, and believed if no message comes.
    """

    def __init__(self, link: Link, stream: str, offset: int) -> None:
        self._link, self._stream, self._offset = link, stream, offset
        self._first: int | None = None
        self._last: int | None = None
        self._empty = False
        self._answer: bool | None = None
        self._told = threading.Event()

    def reaches(self, timeout_s: float) -> bool | None:
        """The answer, or None if the broker did not answer in time; not from the link's thread."""
        readers = (
            StreamReader(
                self._stream, "last", self._seen_last, prefetch=1, attached=self._ask_count
            ),
            StreamReader(self._stream, "first", self._seen_first, prefetch=1),
            StreamReader(self._stream, self._offset, self._seen, prefetch=_AT_ONCE),
        )
        for reader in readers:
            self._link.call(partial(reader.open, self._link))
        self._told.wait(timeout_s)
        for reader in readers:
            self._link.call(reader.close)
        if self._empty and self._first is None and self._last is None:
            return False
        return self._answer

    def _seen_last(self, headers: dict[str, Any]) -> bool:
        self._last = int(headers.get("x-stream-offset", -1))
        if self._last >= self._offset:
            self._tell(reaches=True)
        elif self._first is not None:
            self._ask_count()
        return True

    def _seen(self, headers: dict[str, Any]) -> bool:
        # A chunk is delivered whole: its first messages may lie before the offset.
        if int(headers.get("x-stream-offset", -1)) < self._offset:
            return False
        self._tell(reaches=True)
        return True

    def _seen_first(self, headers: dict[str, Any]) -> bool:
        self._first = int(headers.get("x-stream-offset", -1))
        if self._last is not None:
            self._ask_count()
        return True

    def _ask_count(self) -> None:
        self._link.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        def counted(frame: Method[Queue.DeclareOk]) -> None:
            self._counted(int(frame.method.message_count))
            channel.close()

        channel.queue_declare(self._stream, passive=True, callback=counted)

    def _counted(self, count: int) -> None:
        self._empty = count == 0
        if self._first is None or self._last is None:
            return
        end = self._first + count - 1
        # The count is of another moment than the first message if the end is before the last chunk.
        if end >= self._last:
            self._tell(reaches=end >= self._offset)

    def _tell(self, *, reaches: bool) -> None:
        self._answer = reaches
        self._told.set()
