"""Gives up the deliveries to channels and recipients that are not configured any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import structlog

from services.healer.model.notification import CHANNEL_FAILURES, DELIVERIES
from services.healer.notify.channels.base import Channel
from shared.changes import changed
from shared.observe import DELIVERIES as COUNTED
from shared.service import Context

log = structlog.get_logger(__name__)

_AFTER = timedelta(days=1)
"""A channel may be missing in the settings by mistake, and is then named by the doctor."""
_WAITING = ("pending", "sending", "digest", "digest of jobs")
_GONE = "the channel or recipient is not configured any more"


class Undeliverable:
    """The deliveries that nobody would ever send.

    Args:
        channels: the configured ones.
        keep: how long deliveries that are given up are remembered.
    """

    def __init__(self, channels: Sequence[Channel], keep: timedelta) -> None:
        self._known = {
            f"{channel.name} {recipient}"
            for channel in channels
            for recipient in channel.recipients()
        }
        self._keep = keep

    def give_up(self, ctx: Context) -> None:
        """Give up what has waited for a day, and forget the failures of who gets nothing."""
        given_up: Counter[str] = Counter()
        for delivery in ctx.records.find(DELIVERIES, status=_WAITING, due_before=ctx.now - _AFTER):
            if f"{delivery.channel} {delivery.recipient}" in self._known:
                continue
            done = {"status": "refused", "problem": _GONE, "due": ctx.now + self._keep}
            ctx.records.put(DELIVERIES, changed(delivery, **done))
            given_up[delivery.channel] += 1
        for channel, number in given_up.items():
            COUNTED.labels(channel, "refused").inc(number)
            log.warning("deliveries_given_up", channel=channel, deliveries=number, reason=_GONE)
        known = {name.strip() for name in self._known}
        for failure in ctx.records.find(CHANNEL_FAILURES):
            if failure.recipient not in known:
                ctx.records.delete(CHANNEL_FAILURES, failure.recipient)
