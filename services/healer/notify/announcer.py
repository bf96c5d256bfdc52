"""Who is told what, and when: the one place where a notice to people comes into being.

Everything happens in the transaction of one pass: an alert's standing, the notice that tells of
it, and the deliveries that carry it. So however often a pass is interrupted, and however many
replicas make passes, a change is told in one notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import get_args

from services.healer.model.incident import INCIDENTS
from services.healer.model.notification import (
    GROUPS,
    STANDINGS,
    STORM,
    Group,
    Standing,
    StandingStatus,
    StormState,
)
from services.healer.model.policy import RANK
from services.healer.notify import flap_notices, storms
from services.healer.notify.compose import compose, line
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.filters import Announce, Drop, Filters, Hold
from services.healer.settings import HealerSettings
from shared.observe import ALERTS_HELD, ALERTS_OPEN, STORMING
from shared.service import Context

_MOST = 20_000
_FEW = 200
_ATTACHED_SHOWN = 50
_ESCALATED_OF_A_STORM = 10


class Announcer:
    """Tells people of what the incidents' standings say is to be told."""

    def __init__(self, settings: HealerSettings, dispatch: Dispatch) -> None:
        self._alerting = settings.alerting
        self._dispatch = dispatch

    def flush(self, ctx: Context) -> None:
        """One pass."""
        state = ctx.records.get(STORM, "storm") or StormState()
        self._escalate(ctx)
        if state.next_at is None or ctx.now >= state.next_at:
            flap_notices.calmed(self._alerting.group_by, ctx)
            self._announce(state, ctx)
        for group in ctx.records.find(GROUPS, due_before=ctx.now):
            ctx.records.delete(GROUPS, group.group)
        self._dispatch.digests(ctx)
        STORMING.set(state.active)
        counted = ctx.records.count(STANDINGS)
        for status in get_args(StandingStatus):
            ALERTS_OPEN.labels(status).set(counted.get(status, 0))

    def _announce(self, state: StormState, ctx: Context) -> None:
        candidates = self._candidates(ctx)
        if not candidates and not state.active:
            return
        filters = Filters(self._alerting, ctx.records, ctx.now)
        tell, held = self._sifted(candidates, filters, ctx)
        attached, how = sum(bool(standing.cause) for standing in held), self._alerting.storm
        if state.active or storms.breaks_out(state, len(tell), attached, ctx.now, how):
            self._summarise(state, tell, held, filters, ctx)
            return
        told = 0
        for group in dict.fromkeys(standing.group for standing in tell):
            told += self._tell_group(group, [s for s in tell if s.group == group], filters, ctx)
        if told or attached:
            ctx.records.put(STORM, storms.noted(state, told, attached, ctx.now, how))

    def _candidates(self, ctx: Context) -> list[Standing]:
        """What is due, and with it all else that waits in the same groups."""
        find = ctx.records.find
        due = find(STANDINGS, status=("pending", "held"), due_before=ctx.now, limit=_MOST)
        groups = {standing.group for standing in due if standing.status == "pending"}
        # What still waits for its group counts, too: a storm is seen before half of it is told.
        waiting = ctx.records.count(STANDINGS).get("pending", 0) if groups else 0
        if waiting > self._alerting.storm.alerts:
            more = find(STANDINGS, status="pending", limit=_MOST)
        else:
            more = [s for g in groups for s in find(STANDINGS, status="pending", group=g)]
        return list({standing.incident_id: standing for standing in (*due, *more)}.values())

    def _sifted(
        self, candidates: Sequence[Standing], filters: Filters, ctx: Context
    ) -> tuple[list[Standing], list[Standing]]:
        """Those to tell now, and those held back for the first time; the rest is forgotten."""
        tell: list[Standing] = []
        held: list[Standing] = []
        newly: list[Standing] = []
        newest_first = sorted(candidates, key=lambda standing: standing.since, reverse=True)
        verdicts = {each.incident_id: filters.verdict(each) for each in newest_first}
        for standing in candidates:
            match verdicts[standing.incident_id]:
                case None | Announce() as verdict:
                    announces = isinstance(verdict, Announce)
                    tell.append(standing.model_copy(update={"announces": announces}))
                case Drop():
                    flap_notices.dropped(standing, ctx)
                    ctx.records.delete(STANDINGS, standing.incident_id)
                case Hold(by, until, cause):
                    update = {"status": "held", "held_by": by, "due": until, "cause": cause}
                    held.append(standing.model_copy(update=update))
                    if standing.status != "held":
                        newly.append(held[-1])
                        ALERTS_HELD.labels(by.partition(" ")[0]).inc()
        ctx.records.put_all(STANDINGS, held)
        return tell, newly

    def _tell_group(
        self, group: str, members: list[Standing], filters: Filters, ctx: Context
    ) -> int:
        """One notice for the group, unless it was told just now; how many alerts it told of."""
        last = ctx.records.get(GROUPS, group)
        if last is not None and ctx.now < last.due and not any(s.urgent for s in members):
            later = [s.model_copy(update={"status": "pending", "due": last.due}) for s in members]
            ctx.records.put_all(STANDINGS, later)
            return 0
        members.sort(key=lambda s: (s.ended, -RANK[s.severity], s.since))
        main = members[0]
        incident = ctx.records.get(INCIDENTS, main.incident_id)
        if incident is None:
            ctx.records.delete(STANDINGS, main.incident_id)
            return 0
        effects = filters.effects(main.incident_id)
        notice = compose(main, incident, main.kind, ctx.now).model_copy(
            update={
                "also": tuple(line(s, s.kind) for s in members[1:]),
                "references": tuple(s.thread_id for s in members[1:] if s.thread_id),
                "attached": tuple(line(s, s.tell, s.cause) for s in effects[:_ATTACHED_SHOWN]),
                "attached_total": len(effects),
            }
        )
        self._dispatch.put(notice, ctx)
        pause = timedelta(seconds=self._alerting.group_interval_s)
        ctx.records.put(GROUPS, Group(group=group, told_at=ctx.now, due=ctx.now + pause))
        self._told(members, notice.thread_id or notice.message_id, ctx, len(members))
        return len(members)

    def _summarise(
        self,
        state: StormState,
        tell: list[Standing],
        held: list[Standing],
        filters: Filters,
        ctx: Context,
    ) -> None:
        how = self._alerting.storm
        waiting = ctx.records.find(STANDINGS, status="waiting", limit=_MOST)
        more, effects = self._sifted(waiting, filters, ctx)
        tell = [*tell, *more]
        attached = [s for s in (*held, *effects) if s.cause]
        over = state.active and len(tell) + len(attached) <= how.alerts // 2
        now_state = storms.goes_on(state, len(tell) + len(attached), ctx.now, how)
        self._dispatch.put(storms.summary(now_state, tell, attached, ctx.now, how, over=over), ctx)
        self._told(tell, now_state.thread_id, ctx, _ESCALATED_OF_A_STORM)
        if over:
            now_state = storms.noted(StormState(), len(tell), len(attached), ctx.now, how)
        ctx.records.put(STORM, now_state)

    def _told(
        self, standings: Sequence[Standing], thread: str, ctx: Context, escalated: int
    ) -> None:
        """Note what people know now; what has ended needs no further note."""
        kept = []
        for number, standing in enumerate(standings):
            told = standing.model_copy(
                update={
                    "status": "told",
                    "said": standing.kind,
                    "announces": False,
                    "notices": standing.notices + 1,
                    "thread_id": standing.thread_id or thread,
                    "held_by": "",
                    "cause": "",
                    "urgent": False,
                    "due": self._escalates_at(standing, ctx.now) if number < escalated else None,
                }
            )
            flap_notices.told(told, ctx)
            if standing.ended:
                ctx.records.delete(STANDINGS, standing.incident_id)
            elif standing.announces:
                # It waits to be notified by itself if it lasts.
                kept.append(told.model_copy(update={"status": "pending", "due": ctx.now}))
            else:
                kept.append(told)
        ctx.records.put_all(STANDINGS, kept)

    def _escalates_at(self, standing: Standing, now: datetime) -> datetime | None:
        steps = self._alerting.escalation
        if standing.acknowledged or standing.step >= len(steps):
            return None
        step = steps[standing.step]
        if RANK[standing.severity] < RANK[step.least]:
            return None
        return now + timedelta(seconds=step.after_s)

    def _escalate(self, ctx: Context) -> None:
        """Nobody said that they take care of it: tell the next ones."""
        for standing in ctx.records.find(STANDINGS, status="told", due_before=ctx.now, limit=_FEW):
            incident = ctx.records.get(INCIDENTS, standing.incident_id)
            step = self._alerting.escalation[standing.step : standing.step + 1]
            if incident is None or not step or standing.acknowledged:
                ctx.records.put(STANDINGS, standing.model_copy(update={"due": None}))
                continue
            notice = compose(standing, incident, "unanswered", ctx.now)
            self._dispatch.put(notice, ctx, only=step[0].channels)
            next_step = standing.model_copy(
                update={"step": standing.step + 1, "notices": standing.notices + 1}
            )
            due = self._escalates_at(next_step, ctx.now)
            ctx.records.put(STANDINGS, next_step.model_copy(update={"due": due}))
