"""Decides who is notified of what and when; the only place that creates notifications of alerts.

A pass looks at the notification states without writing anything, and makes parts of what is to
be done. Each part is a transaction of its own: an alert's notification state, the notice that
tells of it, and the deliveries that carry it. A part leaves out what has changed since the look,
which the next pass finds. So however often a pass is interrupted, and however many replicas make
passes, a change is in one notice; and a storm of thousands of alerts keeps no message waiting for
long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.narrative import Notified
from services.healer.model.notice import Kind, Line, Notice
from services.healer.model.notification import (
    GROUPS,
    NOTIFICATION_STATES,
    STORM,
    Group,
    NotificationState,
    NotificationStatus,
    StormState,
)
from services.healer.model.policy import RANK, Policy
from services.healer.notify import escalation, flap_notices, storms
from services.healer.notify.compose import line
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.filters import Drop, Filters, Hold
from services.healer.notify.notices import notice_of
from services.healer.notify.notification_log import NotificationLog, look_again
from services.healer.notify.reminders import Reminders
from services.healer.notify.settings import Alerting
from services.healer.notify.sifting import Sifted, sifted, without
from services.healer.notify.storm_summary import StormSummaries
from shared.changes import changed
from shared.observe import STORMING
from shared.service import Context

Part = Callable[[Context], None]
"""The work of one transaction of a pass."""

ALERTS_AT_ONCE = 200
"""The most alerts that one transaction of a pass writes, which takes some hundredths of a
second."""
_MAX_NOTIFICATIONS = 20_000
_PENDING = NotificationStatus.PENDING
_ATTACHED_SHOWN = 50


class Announcer:
    """Notifies people according to the notification states of incidents.

    Args:
        alerting: when and how people are notified.
        policy: what a notice says of the rules about its alert.
        keep: how long the notices of an ended incident are remembered.
        dispatch: where notices go.
        at_once: the number of alerts that one transaction writes at most.
    """

    def __init__(
        self,
        alerting: Alerting,
        policy: Policy,
        keep: timedelta,
        dispatch: Dispatch,
        at_once: int,
    ) -> None:
        self._alerting = alerting
        self._policy = policy
        self._dispatch = dispatch
        self._at_once = at_once
        self._log = NotificationLog(keep)
        self._summaries = StormSummaries(alerting, dispatch, self._log, at_once)
        self._reminders = Reminders(alerting, policy, dispatch, self._log)
        self._began = False

    def upkeep(self, ctx: Context) -> None:
        """The first transaction: escalations, calm after flapping, digests."""
        state = ctx.records.get(STORM, "storm") or StormState()
        if not self._began:
            look_again(ctx)  # a window that held it may be configured no more
            self._began = True
        self._reminders.send(ctx)
        if state.next_at is None or ctx.now >= state.next_at:
            flap_notices.calmed(self._alerting.group_by, ctx)
        for group in ctx.records.find(GROUPS, due_before=ctx.now):
            ctx.records.delete(GROUPS, group.group)
        self._dispatch.digests(ctx)
        STORMING.set(state.active)

    def parts(self, ctx: Context) -> list[Part]:
        """The parts of this pass, found by reading alone; each runs in a transaction, in order."""
        state = ctx.records.get(STORM, "storm") or StormState()
        if state.settling is not None:
            return self._summaries.rest(state.settling, ctx)
        if state.next_at is not None and ctx.now < state.next_at:
            return []
        candidates = self._candidates(ctx)
        if not candidates and not state.active:
            return []
        filters = Filters(self._alerting, ctx.records, ctx.now)
        found, how = sifted(candidates, filters), self._alerting.storm
        fresh, attached = len(found.tell), len(found.attached())
        if state.active or storms.breaks_out(state, fresh, attached, ctx.now, how):
            waiting = ctx.records.find(
                NOTIFICATION_STATES, status=NotificationStatus.WAITING, limit=_MAX_NOTIFICATIONS
            )
            found += sifted(waiting, filters)
            written = found.attached()
            # Whom an escalation called takes no summaries, and hears of the end all the same.
            ends = [s for s in found.tell if s.ended and s.called]
            tell = [s for s in found.tell if not (s.ended and s.called)]
            summary = self._summaries.parts(state, tell, written, ctx.now)
            rest = self._held_and_dropped(without(found, written))
            return [*summary, *self._groups(ends, filters), *rest]
        return [*self._groups(found.tell, filters), *self._held_and_dropped(found)]

    def _candidates(self, ctx: Context) -> list[NotificationState]:
        """Alerts that are due, and with them all others that wait in the same groups."""
        find = ctx.records.find
        due = find(
            NOTIFICATION_STATES,
            status=(_PENDING, NotificationStatus.HELD),
            due_before=ctx.now,
            limit=_MAX_NOTIFICATIONS,
        )
        groups = {notification.group for notification in due if notification.status is _PENDING}
        # Alerts that wait for their group count, too: a storm is seen before half is notified.
        waiting = ctx.records.count(NOTIFICATION_STATES).get(_PENDING, 0) if groups else 0
        if waiting > self._alerting.storm.alerts:
            more = find(NOTIFICATION_STATES, status=_PENDING, limit=_MAX_NOTIFICATIONS)
        else:
            more = [s for g in groups for s in find(NOTIFICATION_STATES, status=_PENDING, group=g)]
        return list(
            {notification.incident_id: notification for notification in (*due, *more)}.values()
        )

    def _held_and_dropped(self, found: Sifted) -> list[Part]:
        every: list[tuple[NotificationState, Hold | Drop]] = [*found.dropped, *found.held]
        attached = found.attached()
        starts = range(0, len(every), self._at_once)
        return [partial(self._write, every[s : s + self._at_once], attached) for s in starts]

    def _write(
        self,
        some: Sequence[tuple[NotificationState, Hold | Drop]],
        attached: dict[str, tuple[NotificationState, Hold]],
        ctx: Context,
    ) -> None:
        ctx.records.read_ahead(
            NOTIFICATION_STATES, keys=[notification.incident_id for notification, _ in some]
        )
        fresh = 0
        for notification, verdict in some:
            if ctx.records.get(NOTIFICATION_STATES, notification.incident_id) != notification:
                continue
            if isinstance(verdict, Drop):
                self._log.drop(notification, verdict, ctx)
            else:
                self._log.hold(notification, verdict, ctx)
                fresh += notification.incident_id in attached
        self._count(0, fresh, ctx)

    def _count(self, told: int, attached: int, ctx: Context) -> None:
        """Count the alerts that people were notified of: more than they can read are a storm."""
        if told or attached:
            state = ctx.records.get(STORM, "storm") or StormState()
            how = self._alerting.storm
            ctx.records.put(STORM, storms.noted(state, told, attached, ctx.now, how))

    def _groups(self, tell: Sequence[NotificationState], filters: Filters) -> list[Part]:
        groups: dict[str, list[NotificationState]] = {}
        for notification in tell:
            groups.setdefault(_shared_notice(notification), []).append(notification)
        found: list[Part] = []
        for group, members in groups.items():
            members.sort(key=lambda s: (s.ended, -RANK[s.severity], s.since))
            effects = filters.effects(members[0].incident_id)
            lines = tuple(line(s, s.tell, s.cause) for s in effects[:_ATTACHED_SHOWN])
            found.append(partial(self._tell_group, group, members, lines, len(effects)))
        return found

    def _tell_group(
        self,
        group: str,
        members: Sequence[NotificationState],
        effects: tuple[Line, ...],
        attached: int,
        ctx: Context,
    ) -> None:
        """One notice for the group, unless it had one just now or a member has changed."""
        if any(_changed(notification, ctx) for notification in members):
            return
        last = ctx.records.get(GROUPS, group)
        if last is not None and ctx.now < last.due and not any(s.urgent for s in members):
            later = {"status": _PENDING, "due": last.due, "announces": False}
            ctx.records.put_all(NOTIFICATION_STATES, [changed(s, **later) for s in members])
            return
        main = members[0]
        incident = ctx.records.get(INCIDENTS, main.incident_id)
        if incident is None:
            ctx.records.delete(NOTIFICATION_STATES, main.incident_id)
            return
        notice = self._notice(main, incident, main.kind, ctx)
        notice = changed(
            notice,
            opening=f"{notice.opening}{_follow(attached)}",
            also=tuple(line(s, s.kind) for s in members[1:]),
            references=tuple(s.thread_id for s in members[1:] if s.thread_id),
            attached=effects,
            attached_total=attached,
        )
        called = [name for s in members if s.ended for name in s.called]
        deliveries = self._dispatch.put(notice, ctx, called=called)
        pause = timedelta(seconds=self._alerting.group_interval_s)
        ctx.records.put(GROUPS, Group(group=group, due=ctx.now + pause))
        self._note(members, notice, deliveries, ctx)

    def _note(
        self,
        members: Sequence[NotificationState],
        notice: Notice,
        deliveries: int,
        ctx: Context,
    ) -> None:
        """Record that people were notified of these alerts by this notice."""
        thread, about = notice.thread_id or notice.message_id, notice.message_id
        for notification in members:
            kind = notification.kind
            fact = Notified(at=ctx.now, said=kind, message_id=about, deliveries=deliveries)
            said, due = (kind, notification.severity), self._escalates_at(notification, ctx)
            seen = changed(notification, announces=False, alone=True)
            self._log.notified(seen, said, fact, thread, due, ctx)
        self._count(len(members), 0, ctx)

    def _notice(
        self, notification: NotificationState, incident: Incident, kind: Kind, ctx: Context
    ) -> Notice:
        return notice_of(notification, incident, kind, self._alerting, self._policy, ctx)

    def _escalates_at(self, notification: NotificationState, ctx: Context) -> datetime | None:
        return escalation.due_at(notification, ctx.now, self._alerting)


def _follow(count: int) -> str:
    if not count:
        return ""
    alerts, have = ("1 alert follows", "has") if count == 1 else (f"{count} alerts follow", "have")
    return f" {alerts} from it and {have} no notice of their own."


def _changed(seen: NotificationState, ctx: Context) -> bool:
    """Return whether the notification state has changed since it was read."""
    now = ctx.records.get(NOTIFICATION_STATES, seen.incident_id)
    return now != changed(seen, announces=False)


def _shared_notice(notification: NotificationState) -> str:
    """The key of the alerts that share a notice: those of a group.

    What a remediation ended is a story of its own. In a notice about the other ends of its machine
    nobody would look for it. Whom an escalation called hears of what it called them for.
    """
    called = (
        " ".join(("called", *notification.called))
        if notification.ended and notification.called
        else ""
    )
    handled = "handled" if notification.kind == "handled" else ""
    return " ".join(filter(None, (notification.group, handled, called)))
