"""Ways to tell people: one file each, all with the same settings and the same two failures."""

from __future__ import annotations

from services.healer.notify.channels import alertmanager, deadman, mail, pagerduty, slack, webhook
from services.healer.notify.channels.base import Channel, Tools, parse, registered
from services.healer.notify.channels.errors import ChannelRefused, ChannelUnavailable

__all__ = [
    "Channel",
    "ChannelRefused",
    "ChannelUnavailable",
    "Tools",
    "alertmanager",
    "deadman",
    "mail",
    "pagerduty",
    "parse",
    "registered",
    "slack",
    "webhook",
]
