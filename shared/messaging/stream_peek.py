"""One message of a stream, looked at without anybody's place in it being changed."""

from __future__ import annotations

import threading
from typing import Any

from pika import BasicProperties
from pika.channel import Channel
from pika.spec import Basic

from shared.messaging.link import Link


class StreamPeek:
    """Reads the headers of the first message at or after an offset, as a reader of its own."""

    def __init__(self, link: Link, stream: str, offset: int) -> None:
        self._link = link
        self._stream, self._offset = stream, offset
        self._answered = threading.Event()
        self._headers: dict[str, Any] | None = None
        self._channel: Channel | None = None

    def headers(self, timeout_s: float) -> dict[str, Any] | None:
        """The answer, or None if it has not come in time; not from the link's own thread."""
        self._link.call(lambda: self._link.open_channel(self._on_channel))
        self._answered.wait(timeout_s)
        self._link.call(self._close)
        return self._headers

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.basic_qos(prefetch_count=100, callback=lambda _frame: self._consume(channel))

    def _consume(self, channel: Channel) -> None:
        if channel.is_open:
            place = {"x-stream-offset": self._offset}
            channel.basic_consume(self._stream, self._on_message, arguments=place)

    def _on_message(
        self, _channel: Channel, _method: Basic.Deliver, properties: BasicProperties, _body: bytes
    ) -> None:
        headers: dict[str, Any] = properties.headers or {}
        if self._headers is None and int(headers.get("x-stream-offset", -1)) >= self._offset:
            self._headers = headers
            self._answered.set()

    def _close(self) -> None:
        if self._channel is not None and self._channel.is_open:
            self._channel.close()
