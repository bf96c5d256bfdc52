"""The two ways in which a channel fails."""

from __future__ import annotations


class ChannelUnavailable(Exception):
    """Not now: no connection, the other side says 'later', or something that can be mended."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class ChannelRefused(Exception):
    """The other side will not take this notice, now or later."""
