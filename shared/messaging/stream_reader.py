"""Reads headers of a stream on a separate channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika import BasicProperties
from pika.channel import Channel
from pika.spec import Basic

from shared.messaging.link import Link


class StreamReader:
    """Reads from ``offset`` on until ``seen`` returns true for a message's headers.

    ``attached`` is called when the broker has found the stream and begins to deliver.
    All methods run in the link's thread. An empty stream has an answer when something is appended.
    """

    def __init__(
        self,
        stream: str,
        offset: int | str,
        seen: Callable[[dict[str, Any]], bool],
        *,
        prefetch: int,
        attached: Callable[[], None] = lambda: None,
    ) -> None:
        self._stream, self._offset = stream, offset
        self._seen, self._prefetch = seen, prefetch
        self._attached = attached
        self._channel: Channel | None = None
        self._ended = False

    @property
    def is_open(self) -> bool:
        """True if it still waits for a message."""
        return self._channel is not None and self._channel.is_open

    def open(self, link: Link) -> None:
        """Begin to read."""
        link.open_channel(self._on_channel)

    def close(self) -> None:
        """Read no more; harmless when it has ended."""
        self._ended = True
        if self._channel is not None and self._channel.is_open:
            self._channel.close()

    def _on_channel(self, channel: Channel) -> None:
        if self._ended:
            channel.close()
            return
        self._channel = channel
        channel.basic_qos(
            prefetch_count=self._prefetch, callback=lambda _frame: self._consume(channel)
        )

    def _consume(self, channel: Channel) -> None:
        if channel.is_open:
            place = {"x-stream-offset": self._offset}
            channel.basic_consume(
                self._stream,
                self._on_message,
                arguments=place,
                callback=lambda _frame: self._attached(),
            )

    def _on_message(
        self, _channel: Channel, _method: Basic.Deliver, properties: BasicProperties, _body: bytes
    ) -> None:
        if self._seen(properties.headers or {}):
            self.close()
