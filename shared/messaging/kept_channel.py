"""A channel that is kept open on a connection, and reopened when it was closed."""

from __future__ import annotations

from collections.abc import Callable

from pika.channel import Channel

from shared.messaging.link import Link

_REOPEN_S = 5.0
"""After the broker closed a channel, it refuses the same again if that comes at once."""


class KeptChannel:
    """Opened with every connection, and again a while after the broker has closed it."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._channel: Channel | None = None

    def connected(self, link: Link) -> None:
        self._link = link
        link.open_channel(self._on_channel)

    def disconnected(self) -> None:
        self._channel = None

    def opened(self, channel: Channel) -> None:
        """Called in the connection's thread when the channel has been opened."""

    def call(self, act: Callable[[Channel], None]) -> None:
        """Do something on the channel, from any thread; it is left undone where none is open."""
        if self._link is not None:
            self._link.call(lambda: self._act(act))

    def _act(self, act: Callable[[Channel], None]) -> None:
        if self._channel is not None and self._channel.is_open:
            act(self._channel)

    def _on_channel(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_closed)
        self._channel = channel
        self.opened(channel)

    def _on_closed(self, _channel: Channel, _reason: Exception) -> None:
        self._channel = None
        link = self._link
        if link is not None and link.up:
            link.later(_REOPEN_S, lambda: link.open_channel(self._on_channel))
