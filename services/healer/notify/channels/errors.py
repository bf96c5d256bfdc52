"""The two ways in which a channel fails."""

from __future__ import annotations


class ChannelUnavailable(Exception):
    """A temporary failure: no connection, a request to retry later, or a fixable error."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class ChannelRefused(Exception):
    """The receiver will never accept this notification."""


class ChannelTooLarge(ChannelRefused):
    """The receiver does not accept this notification because of its size."""
