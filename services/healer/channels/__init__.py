"""Ways to tell people: one file each, all with the same settings and the same two failures."""

from __future__ import annotations

from services.healer.channels import alertmanager, mail, pagerduty, slack, webhook
from services.healer.channels.base import (
    Channel,
    ChannelRefused,
    ChannelUnavailable,
    Tools,
    parse,
    registered,
)

__all__ = [
    "Channel",
    "ChannelRefused",
    "ChannelUnavailable",
    "Tools",
    "alertmanager",
    "mail",
    "pagerduty",
    "parse",
    "registered",
    "slack",
    "webhook",
]
