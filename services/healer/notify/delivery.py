"""Sends deliveries, each until the receiver has accepted or refused it.

A replica takes a delivery by writing its name and a time on it; only then does it send. So two
replicas never send the same one, and one that is killed leaves it to the other when the time is
up. A crash before the receiver's acceptance is recorded sends it once more, with the same id, by
which the receiver recognises the repetition.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import structlog

from services.healer.model.notice import Notice, Summary
from services.healer.model.notification import DELIVERIES, NOTICES, Delivery
from services.healer.notify.channels import (
    Channel,
    ChannelRefused,
    ChannelTooLarge,
    ChannelUnavailable,
    Tools,
)
from services.healer.notify.failing_channels import FailingChannels
from shared import traces
from shared.changes import changed
from shared.observe import DELIVERIES as COUNTED
from shared.observe import DELIVERIES_WAITING
from shared.service import Context, ServiceUnit
from shared.traces import Kind

log = structlog.get_logger(__name__)

_MAX_FAILURES = 2
"""The failures in a row that show that the other side is away: one notice may itself be bad."""
_AT_ONCE, _AT_BACK = 200, 10_000
_ROWS_KEPT = (50, 1)
"""The numbers of alerts of a notice that is too large for its receiver, tried in turn."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5, 600


class Deliverer:
    """Sends the deliveries of one channel, in order within a thread.

    Args:
        channel: which one.
        tools: what it sends with.
        unit: a transaction.
        clock: what time it is.
        keep: how long deliveries that are done are remembered.
        failing: tells other channels when this one keeps failing.
        lease: longer than the channel may take to send one notice.
        may_send: raises when another replica may be at work by now.
        alone: whether the database serves one process: then whoever was sending has ended.
    """

    def __init__(
        self,
        channel: Channel,
        tools: Tools,
        unit: Callable[[], AbstractContextManager[ServiceUnit]],
        clock: Callable[[], datetime],
        keep: timedelta,
        failing: FailingChannels,
        lease: timedelta = timedelta(seconds=180),
        may_send: Callable[[], None] = lambda: None,
        *,
        alone: bool = False,
    ) -> None:
        self._may_send = may_send
        self._channel = channel
        self._tools = tools
        self._unit = unit
        self._clock = clock
        self._keep = keep
        self._failing = failing
        self._lease = lease
        self._alone = alone
        self._name = uuid.uuid4().hex
        self._away: set[str] = set()
        """Recipients that could not be reached when they were last tried."""

    def run(self) -> None:
        """One pass: whatever is due, until nothing is or the other side cannot be reached."""
        for recipient in self._channel.recipients():
            failures = 0
            while failures < _MAX_FAILURES and (taken := self._take(recipient)) is not None:
                delivery, notice = taken
                tried = self._try(delivery, notice)
                failures = failures + 1 if tried.status == "pending" else 0
                with self._unit() as unit:
                    held = unit.records.get(DELIVERIES, delivery.delivery_id)
                    if held is not None and held.holder == self._name:
                        unit.records.put(DELIVERIES, tried)
                        ctx = Context(self._clock(), "", 1, unit.records)
                        self._failing.tried(self._channel.name, tried, notice, ctx)
                    if tried.status == "sent" and recipient in self._away:
                        self._hurry(recipient, unit)
                        self._away.discard(recipient)
            if failures:
                self._away.add(recipient)

    def _hurry(self, recipient: str, unit: ServiceUnit) -> None:
        """Make due what only waited for the other side, which is back."""
        group = self._group(recipient)
        waiting = unit.records.find(DELIVERIES, group=group, status="pending", limit=_AT_BACK)
        now = self._clock()
        for delivery in waiting:
            if delivery.attempts and not delivery.asked and delivery.due > now:
                unit.records.put(DELIVERIES, changed(delivery, due=now))

    def _group(self, recipient: str) -> str:
        return f"{self._channel.name} {recipient}"

    def _take(self, recipient: str) -> tuple[Delivery, Notice | Summary] | None:
        """The next delivery, now ours to send."""
        now = self._clock()
        with self._unit() as unit:
            open_ones = unit.records.find(
                DELIVERIES,
                group=self._group(recipient),
                status=("pending", "sending"),
                limit=_AT_ONCE,
            )
            DELIVERIES_WAITING.labels(self._channel.name).set(len(open_ones))
            earlier: set[str] = set()
            for delivery in open_ones:
                left = self._alone and delivery.holder not in {"", self._name}
                if (delivery.due > now and not left) or delivery.thread in earlier:
                    earlier.add(delivery.thread)  # what belongs together arrives in order
                    continue
                record = unit.records.get(NOTICES, delivery.message_id)
                if record is None:
                    unit.records.delete(DELIVERIES, delivery.delivery_id)
                    continue
                update = {"status": "sending", "holder": self._name, "due": now + self._lease}
                taken = changed(delivery, **update)
                unit.records.put(DELIVERIES, taken)
                return taken, record.notice
        return None

    def _try(self, delivery: Delivery, notice: Notice | Summary) -> Delivery:
        self._may_send()
        attempts, channel = delivery.attempts + 1, self._channel.name
        about = {"message_id": delivery.message_id, "channel": channel}
        span = traces.begin(f"notify {channel}", Kind.CLIENT, delivery.traceparent, about)
        if isinstance(notice, Notice):
            span.attributes["barograph.alert.id"] = notice.incident_id
        try:
            self._send(notice, delivery)
        except ChannelUnavailable as error:
            pause = min(_FIRST_PAUSE_S * 2 ** min(delivery.attempts, 10), _LONGEST_PAUSE_S)
            pause_s = max(pause, min(error.after_s or 0, 3600))
            log.warning("delivery_postponed", **about, reason=str(error), again_in_s=pause_s)
            COUNTED.labels(channel, "postponed").inc()
            due = self._clock() + timedelta(seconds=pause_s)
            asked = error.after_s is not None
            update = {"status": "pending", "problem": str(error), "due": due, "asked": asked}
        except ChannelRefused as error:
            log.warning("delivery_refused", **about, reason=str(error))
            COUNTED.labels(channel, "refused").inc()
            due = self._clock() + self._keep
            update = {"status": "refused", "problem": str(error), "due": due}
        except Exception as error:
            # A notice that cannot be put into words must not keep back those after it.
            log.exception("delivery_impossible", **about)
            COUNTED.labels(channel, "refused").inc()
            due = self._clock() + self._keep
            problem = f"{type(error).__name__}: {error}"
            update = {"status": "refused", "problem": problem, "due": due}
        else:
            COUNTED.labels(channel, "sent").inc()
            update = {"status": "sent", "due": self._clock() + self._keep}
        span.end(str(update.get("problem", "")))
        return changed(delivery, attempts=attempts, holder="", **update)

    def _send(self, notice: Notice | Summary, delivery: Delivery) -> None:
        """Send it, or as much of it as the receiver accepts."""
        notice = self._channel.part_of(notice)
        for most in _ROWS_KEPT:
            try:
                self._channel.send(notice, delivery.recipient, self._tools)
            except ChannelTooLarge as error:
                about = {"message_id": delivery.message_id, "channel": self._channel.name}
                log.warning("delivery_shortened", **about, alerts=most, reason=str(error))
                notice = notice.shortened(most)
            else:
                return
        self._channel.send(notice, delivery.recipient, self._tools)
