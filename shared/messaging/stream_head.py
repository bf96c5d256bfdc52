"""Where a stream ends just now: what a reader's place is measured against."""

from __future__ import annotations

from typing import Any

from pika import BasicProperties
from pika.channel import Channel
from pika.spec import Basic

from shared.messaging.link import Link


class StreamHead:
    """Looks at the last chunk of a stream each time it is asked to, as a reader of its own.

    A passive declaration counts what retention has left, not where the stream ends; only a reader
    is given offsets. An empty stream answers when something comes.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._link: Link | None = None
        self._channel: Channel | None = None
        self.offset: int | None = None
        """The offset of the last chunk's first message; None before the first answer."""

    def connected(self, link: Link) -> None:
        self._link = link

    def disconnected(self) -> None:
        self._channel = None

    def ask(self) -> None:
        """Look again; the answer is in ``offset`` when it has come."""
        if self._link is not None:
            self._link.call(self._ask)

    def _ask(self) -> None:
        waits = self._channel is not None and self._channel.is_open
        if self._link is not None and not waits:
            self._link.open_channel(self._on_channel)

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.basic_qos(prefetch_count=1, callback=lambda _frame: self._consume(channel))

    def _consume(self, channel: Channel) -> None:
        if channel.is_open:
            channel.basic_consume(
                self._stream, self._on_message, arguments={"x-stream-offset": "last"}
            )

    def _on_message(
        self, channel: Channel, _method: Basic.Deliver, properties: BasicProperties, _body: bytes
    ) -> None:
        headers: dict[str, Any] = properties.headers or {}
        offset = headers.get("x-stream-offset")
        if isinstance(offset, int):
            self.offset = max(offset, self.offset or 0)
        if channel.is_open:
            channel.close()
