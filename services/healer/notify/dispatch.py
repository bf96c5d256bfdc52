"""Chooses the channels of a notification, and what a recipient receives as a digest instead."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from services.healer.model.incident import INCIDENTS
from services.healer.model.notice import ENDINGS, Notice, Summary
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
from services.healer.notify.render.title import title
from services.healer.notify.settings import Alerting
from shared.changes import changed
from shared.contracts.alerts import Severity
from shared.contracts.message import deterministic_id
from shared.service import Context

_HOUR = timedelta(hours=1)
_AT_ONCE = 2000
_TITLES = 50


class Dispatch:
    """Creates a delivery for each recipient of each channel that accepts a notification."""

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
        called: Collection[str] = (),
        keep: bool = False,
    ) -> int:
        """Store the notification with its deliveries, and return their number.

        ``only`` names the channels of an escalation: they get it whatever their filters say.
        ``without`` names a channel that does not get it, or one recipient of it.
        ``called`` names channels that get it because an escalation has called them.
        With ``keep`` the notice is stored even if no channel wants it.
        """
        wanted = [
            (channel, recipient)
            for channel in self._channels
            if (
                channel.name in only
                if only
                else channel.wants(notice) or (channel.name in called and channel.takes(notice))
            )
            for recipient in channel.recipients()
            if without not in {channel.name, f"{channel.name} {recipient}"}
        ]
        if not wanted and not keep:
            return 0
        ctx.records.put(NOTICES, NoticeRecord(notice=notice, due=ctx.now + self._keep))
        deliveries = [
            self._delivery(notice, channel, recipient, ctx, limited=not only)
            for channel, recipient in wanted
        ]
        ctx.records.put_all(DELIVERIES, deliveries)
        return len(deliveries)

    def put_somewhere(self, notice: Summary, ctx: Context, without: str) -> None:
        """Store a notification about a channel for the others, or else for those of escalations."""
        if not self.put(notice, ctx, without=without):
            last = [channel.name for channel in self._channels if channel.escalation_only]
            if last:
                self.put(notice, ctx, only=last, without=without)

    def hand(
        self, notice: Summary, targets: Sequence[str], ctx: Context, ruled: Collection[str] = ()
    ) -> None:
        """Store a notification for the recipients that a job may name.

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
        """Send each recipient a digest of the notifications above their limit."""
        for quota in ctx.records.find(QUOTAS, due_before=ctx.now):
            more = self._digest(quota, ctx)
            following = ctx.now + timedelta(seconds=self._settings.digest_every_s)
            ctx.records.put(QUOTAS, changed(quota, digest_at=following if more else None))

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
            ctx.records.put(QUOTAS, changed(quota, times=(*times, ctx.now)))
            return delivery
        due = self._digest_at(notice, quota, ctx)
        ctx.records.put(QUOTAS, changed(quota, times=times, digest_at=due))
        return changed(delivery, status=quota.waiting)

    def _digest_at(self, notice: Notice | Summary, quota: Quota, ctx: Context) -> datetime:
        """The time of the next digest, given that it includes this notification."""
        how = self._settings
        urgent = isinstance(notice, Notice) and notice.severity is Severity.CRITICAL
        urgent = urgent and notice.kind not in ENDINGS
        wait_s = min(how.digest_critical_s, how.digest_every_s) if urgent else how.digest_every_s
        due = ctx.now + timedelta(seconds=wait_s)
        return due if quota.digest_at is None else min(due, quota.digest_at)

    def _digest(self, quota: Quota, ctx: Context) -> bool:
        """Send a digest, and return whether there may be more than it contains."""
        waiting = ctx.records.find(
            DELIVERIES, group=quota.recipient, status=quota.waiting, limit=_AT_ONCE
        )
        if not waiting:
            return False
        first = waiting[0]
        digest = self._summary(waiting, ctx)
        ctx.records.put(NOTICES, NoticeRecord(notice=digest, due=ctx.now + self._keep))
        done = [changed(d, status="digested", due=ctx.now + self._keep) for d in waiting]
        letter = changed(
            first,
            delivery_id=deterministic_id("delivery", digest.message_id, quota.recipient),
            message_id=digest.message_id,
            thread=digest.message_id,
            status="pending",
            due=ctx.now,
        )
        ctx.records.put_all(DELIVERIES, [*done, letter])
        return len(waiting) == _AT_ONCE

    def _summary(self, waiting: Sequence[Delivery], ctx: Context) -> Summary:
        """The digest of the notices that these deliveries would have carried."""
        records = [ctx.records.get(NOTICES, delivery.message_id) for delivery in waiting]
        notices = [record.notice for record in records if record is not None]
        rows = [row for notice in notices for row in notice.lines()]
        titles = [title(notice) for notice in notices]
        summaries = [notice for notice in notices if isinstance(notice, Summary)]
        projects = {name for summary in summaries for name in summary.project.split()}
        return Summary(
            message_id=message_id(deterministic_id("digest", waiting[0].delivery_id), 1),
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


def _trace_of(notice: Notice | Summary, ctx: Context) -> str:
    """The trace of a notification's alert; a summary has none, because it has many alerts."""
    if isinstance(notice, Summary):
        return ""
    incident = ctx.records.get(INCIDENTS, notice.incident_id)
    return incident.traceparent if incident is not None else ""
