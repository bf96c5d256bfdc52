"""All channels, one file each, with common settings and two kinds of failure."""

from __future__ import annotations

from services.healer.notify.channels.base import (
    REGISTRY,
    Channel,
    Tools,
    channel,
    parse,
    registered,
)
from services.healer.notify.channels.errors import (
    ChannelRefused,
    ChannelTooLarge,
    ChannelUnavailable,
)

__all__ = [
    "REGISTRY",
    "Channel",
    "ChannelRefused",
    "ChannelTooLarge",
    "ChannelUnavailable",
    "Tools",
    "channel",
    "parse",
    "registered",
]
