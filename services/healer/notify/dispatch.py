"""Which channels a notice goes to, and what a recipient gets as a digest instead."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from services.healer.model.incident import INCIDENTS
from services.healer.model.notice import Line, Notice, Summary
from services.healer.model.notification import (
    DELIVERIES,
    NOTICES,
    QUOTAS,
    Delivery,
    NoticeRecord,
    Quota,
)
from services.healer.model.policy import worst
from services.healer.notify.channels.base import Channel
from services.healer.notify.compose import message_id
from services.healer.notify.render.text import title
from services.healer.notify.settings import Alerting
from shared.contracts.message import deterministic_id
from shared.service import Context

_HOUR = timedelta(hours=1)
_AT_ONCE = 2000
_TITLES = 50


class Dispatch:
    """From notices to deliveries, one for each recipient of each channel that wants them."""

    def __init__(self, settings: Alerting, channels: Sequence[Channel], keep: timedelta) -> None:
        self._settings = settings
        self._channels = channels
        self._keep = keep

    def put(
        self,
        notice: Notice | Summary,
        ctx: Context,
        only: Sequence[str] = (),
        without: str = "",
        *,
        keep: bool = False,
    ) -> int:
        """Store the notice with its deliveries; how many there are.

        ``only`` names the channels of an escalation: they get it whatever they want else.
        ``without`` names a channel that does not get it.
        With ``keep`` the notice is stored even if no channel wants it.
        """
        wanted = [
            channel
            for channel in self._channels
            if channel.name != without and (channel.name in only if only else channel.wants(notice))
        ]
        if not wanted and not keep:
            return 0
        ctx.records.put(NOTICES, NoticeRecord(notice=notice, due=ctx.now + self._keep))
        deliveries = [
            self._delivery(notice, channel, recipient, ctx, limited=not only)
            for channel in wanted
            for recipient in channel.recipients()
        ]
        ctx.records.put_all(DELIVERIES, deliveries)
        return len(deliveries)

    def hand(
        self, notice: Summary, targets: Sequence[str], ctx: Context, ruled: Collection[str] = ()
    ) -> None:
        """Store a notice for those whom a job names, without those it may not name.

        ``ruled``: those of the targets that a rule names, which may be anybody.
        """
        if ctx.records.get(NOTICES, notice.message_id) is not None:
            return
        deliveries: dict[str, Delivery] = {}
        for target in targets:
            found = [
                (channel, recipient)
                for channel in self._channels
                for recipient in (channel.named if target in ruled else channel.for_job)(target)
            ]
            for channel, recipient in found:
                delivery = self._delivery(notice, channel, recipient, ctx, limited=True)
                deliveries.setdefault(delivery.delivery_id, delivery)
        if deliveries:
            ctx.records.put(NOTICES, NoticeRecord(notice=notice, due=ctx.now + self._keep))
            ctx.records.put_all(DELIVERIES, [*deliveries.values()])

    def digests(self, ctx: Context) -> None:
        """Send each recipient, in one notice, what was too much for them."""
        for quota in ctx.records.find(QUOTAS, due_before=ctx.now):
            more = self._digest(quota, ctx)
            following = ctx.now + timedelta(seconds=self._settings.digest_every_s)
            ctx.records.put(
                QUOTAS, quota.model_copy(update={"digest_at": following if more else None})
            )

    def _delivery(
        self,
        notice: Notice | Summary,
        channel: Channel,
        recipient: str,
        ctx: Context,
        *,
        limited: bool,
    ) -> Delivery:
        delivery = Delivery(
            delivery_id=deterministic_id("delivery", notice.message_id, channel.name, recipient),
            message_id=notice.message_id,
            thread=notice.thread_id or notice.message_id,
            channel=channel.name,
            recipient=recipient,
            due=ctx.now,
            traceparent=ctx.traceparent or _trace_of(notice, ctx),
        )
        about_job = notice.kind == "job"
        if not about_job and (isinstance(notice, Summary) or not (channel.LIMITED and limited)):
            return delivery
        fresh = Quota(recipient=f"{channel.name} {recipient}", jobs=about_job)
        quota = ctx.records.get(QUOTAS, fresh.key) or fresh
        times = tuple(at for at in quota.times if at > ctx.now - _HOUR)
        if len(times) < self._settings.mails_per_hour and quota.digest_at is None:
            ctx.records.put(QUOTAS, quota.model_copy(update={"times": (*times, ctx.now)}))
            return delivery
        due = quota.digest_at or ctx.now + timedelta(seconds=self._settings.digest_every_s)
        ctx.records.put(QUOTAS, quota.model_copy(update={"times": times, "digest_at": due}))
        return delivery.model_copy(update={"status": quota.waiting})

    def _digest(self, quota: Quota, ctx: Context) -> bool:
        """Send one; whether there may be more than it tells of."""
        waiting = ctx.records.find(
            DELIVERIES, group=quota.recipient, status=quota.waiting, limit=_AT_ONCE
        )
        if not waiting:
            return False
        rows: list[Line] = []
        titles: list[str] = []
        projects: set[str] = set()
        for delivery in waiting:
            record = ctx.records.get(NOTICES, delivery.message_id)
            if record is not None:
                rows += record.notice.lines()
                titles.append(title(record.notice))
                if isinstance(record.notice, Summary):
                    projects |= {*record.notice.project.split()}
        first = waiting[0]
        digest = Summary(
            message_id=message_id(deterministic_id("digest", first.delivery_id), 1),
            kind="digest",
            severity=worst([row.severity for row in rows]),
            headline=f"{len(titles)} notices you were not sent one by one",
            sentences=(
                (
                    f"More than {self._settings.mails_per_hour} notices came for you within an "
                    "hour; these came after them, in order."
                ),
                *titles[:_TITLES],
            ),
            rows=tuple(rows),
            project=" ".join(sorted(projects)),
            at=ctx.now,
        )
        ctx.records.put(NOTICES, NoticeRecord(notice=digest, due=ctx.now + self._keep))
        done = [
            d.model_copy(update={"status": "digested", "due": ctx.now + self._keep})
            for d in waiting
        ]
        letter = first.model_copy(
            update={
                "delivery_id": deterministic_id("delivery", digest.message_id, quota.recipient),
                "message_id": digest.message_id,
                "thread": digest.message_id,
                "status": "pending",
                "due": ctx.now,
            }
        )
        ctx.records.put_all(DELIVERIES, [*done, letter])
        return len(waiting) == _AT_ONCE


def _trace_of(notice: Notice | Summary, ctx: Context) -> str:
    """The trace of the alert that a notice is about; a summary is of many."""
    if isinstance(notice, Summary):
        return ""
    incident = ctx.records.get(INCIDENTS, notice.incident_id)
    return incident.traceparent if incident is not None else ""
