"""Who is notified of what, and when: the one place where a notice to people comes into being.

Everything happens in the transaction of one pass: an alert's standing, the notice that tells of
it, and the deliveries that carry it. So however often a pass is interrupted, and however many
replicas make passes, a change is in one notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from services.healer.model import decision_log
from services.healer.model.action import ACTIONS
from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.narrative import Held, Notified, NotNotified, extended
from services.healer.model.notice import Kind, Notice, Summary
from services.healer.model.notification import (
    FLAPS,
    GROUPS,
    HEARD,
    STANDINGS,
    STORM,
    Group,
    Heard,
    Standing,
    StandingStatus,
    StormState,
    series_key,
)
from services.healer.model.policy import RANK
from services.healer.notify import flap_notices, measures, storms
from services.healer.notify.compose import compose, line
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.filters import Announce, Drop, Filters, Hold
from services.healer.notify.policy_words import in_words
from services.healer.settings import HealerSettings
from shared.contracts.healing import ActionState
from shared.observe import (
    ALERTS_HELD,
    STORMING,
)
from shared.service import Context

_MAX_NOTIFICATIONS = 20_000
_PENDING = StandingStatus.PENDING
_MAX_REPEATS = 200
_ATTACHED_SHOWN = 50
_ESCALATED_OF_A_STORM = 10


class Announcer:
    """Notifies people of what the incidents' standings say."""

    def __init__(self, settings: HealerSettings, dispatch: Dispatch) -> None:
        self._alerting = settings.alerting
        self._dispatch = dispatch
        self._policy = settings.policy
        self._keep = timedelta(days=settings.keep_days)

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
        measures.standings(ctx)

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
        many = 0
        for group in dict.fromkeys(map(_shared_notice, tell)):
            many += self._tell_group(
                group, [s for s in tell if _shared_notice(s) == group], filters, ctx
            )
        if many or attached:
            ctx.records.put(STORM, storms.noted(state, many, attached, ctx.now, how))

    def _candidates(self, ctx: Context) -> list[Standing]:
        """What is due, and with it all else that waits in the same groups."""
        find = ctx.records.find
        due = find(
            STANDINGS,
            status=(_PENDING, StandingStatus.HELD),
            due_before=ctx.now,
            limit=_MAX_NOTIFICATIONS,
        )
        groups = {standing.group for standing in due if standing.status is _PENDING}
        # Alerts that wait for their group count, too: a storm is seen before half is notified.
        waiting = ctx.records.count(STANDINGS).get(_PENDING, 0) if groups else 0
        if waiting > self._alerting.storm.alerts:
            more = find(STANDINGS, status=_PENDING, limit=_MAX_NOTIFICATIONS)
        else:
            more = [s for g in groups for s in find(STANDINGS, status=_PENDING, group=g)]
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
            measures.hold(standing, verdicts[standing.incident_id], ctx)
            match verdicts[standing.incident_id]:
                case None | Announce() as verdict:
                    announces = isinstance(verdict, Announce)
                    tell.append(standing.model_copy(update={"announces": announces}))
                case Drop(why):
                    flap_notices.dropped(standing, ctx)
                    self._over(standing, NotNotified(at=ctx.now, why=why), ctx)
                case Hold(by, until, cause):
                    update = {
                        "status": StandingStatus.HELD,
                        "held_by": by,
                        "due": until,
                        "cause": cause,
                    }
                    fact = Held(at=ctx.now, by=by, until=until, cause=cause)
                    update["history"] = extended(standing.history, fact)
                    held.append(standing.model_copy(update=update))
                    if standing.status is not StandingStatus.HELD:
                        decision_log.write(standing.incident_id, standing.series, fact)
                        newly.append(held[-1])
                        ALERTS_HELD.labels(by.partition(" ")[0]).inc()
        ctx.records.put_all(STANDINGS, held)
        return tell, newly

    def _tell_group(
        self, group: str, members: list[Standing], filters: Filters, ctx: Context
    ) -> int:
        """One notice for the group, unless it had one just now; how many alerts that is about."""
        last = ctx.records.get(GROUPS, group)
        if last is not None and ctx.now < last.due and not any(s.urgent for s in members):
            later = [s.model_copy(update={"status": _PENDING, "due": last.due}) for s in members]
            ctx.records.put_all(STANDINGS, later)
            return 0
        members.sort(key=lambda s: (s.ended, -RANK[s.severity], s.since))
        main = members[0]
        incident = ctx.records.get(INCIDENTS, main.incident_id)
        if incident is None:
            ctx.records.delete(STANDINGS, main.incident_id)
            return 0
        effects = filters.effects(main.incident_id)
        notice = self._composed(main, incident, main.kind, ctx).model_copy(
            update={
                "also": tuple(line(s, s.kind) for s in members[1:]),
                "references": tuple(s.thread_id for s in members[1:] if s.thread_id),
                "attached": tuple(line(s, s.tell, s.cause) for s in effects[:_ATTACHED_SHOWN]),
                "attached_total": len(effects),
            }
        )
        deliveries = self._dispatch.put(notice, ctx)
        pause = timedelta(seconds=self._alerting.group_interval_s)
        ctx.records.put(GROUPS, Group(group=group, told_at=ctx.now, due=ctx.now + pause))
        self._note(members, notice, deliveries, ctx, len(members))
        return len(members)

    def _composed(self, standing: Standing, incident: Incident, kind: Kind, ctx: Context) -> Notice:
        """The notice, with what the settings and records say beside the incident."""
        rule = self._policy.rule(incident.series, incident.sight.kind)
        action = None
        if incident.handling == "approve" and incident.action_id:
            action = ctx.records.get(ACTIONS, incident.action_id)
        asked = action is not None and action.state is ActionState.PROPOSED
        return compose(
            standing,
            incident,
            kind,
            ctx.now,
            runbook_url=(rule and rule.runbook_url) or self._alerting.runbook(incident.series.item),
            rule=in_words(self._policy, incident.series, incident.sight.kind),
            # A flapping alert does not go on as usual, and the first sentences say how.
            next_step="" if kind == "flapping" else self._next_step(standing, ctx.now),
            flap=ctx.records.get(FLAPS, series_key(incident.series)) if standing.flapping else None,
            action=action if asked else None,
        )

    def _next_step(self, standing: Standing, now: datetime) -> str:
        """What happens next if nobody acts, in words."""
        due = self._escalates_at(standing, now)
        if due is None:
            return "Nobody else is called. You hear again when it ends or grows worse."
        names = ", ".join(self._alerting.escalation[standing.step].channels)
        return f"If nobody acknowledges it until {due:%H:%M:%S} UTC, it goes to {names}."

    def _summarise(
        self,
        state: StormState,
        tell: list[Standing],
        held: list[Standing],
        filters: Filters,
        ctx: Context,
    ) -> None:
        how = self._alerting.storm
        waiting = ctx.records.find(
            STANDINGS, status=StandingStatus.WAITING, limit=_MAX_NOTIFICATIONS
        )
        more, effects = self._sifted(waiting, filters, ctx)
        tell = [*tell, *more]
        attached = [s for s in (*held, *effects) if s.cause]
        over = state.active and len(tell) + len(attached) <= how.alerts // 2
        now_state = storms.goes_on(state, len(tell) + len(attached), ctx.now, how)
        summary = storms.summary(now_state, tell, attached, ctx.now, how, over=over)
        deliveries = self._dispatch.put(summary, ctx)
        self._note(tell, summary, deliveries, ctx, _ESCALATED_OF_A_STORM)
        if over:
            now_state = storms.noted(StormState(), len(tell), len(attached), ctx.now, how)
        ctx.records.put(STORM, now_state)

    def _note(
        self,
        standings: Sequence[Standing],
        notice: Notice | Summary,
        deliveries: int,
        ctx: Context,
        escalated: int,
    ) -> None:
        """Note what people know now; what has ended is no longer kept."""
        kept, thread = [], notice.thread_id or notice.message_id
        for number, standing in enumerate(standings):
            fact = Notified(
                at=ctx.now,
                said=standing.kind,
                message_id=notice.message_id,
                deliveries=deliveries,
            )
            decision_log.write(standing.incident_id, standing.series, fact)
            known = standing.model_copy(
                update={
                    "history": extended(standing.history, fact),
                    "status": StandingStatus.NOTIFIED,
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
            flap_notices.notified(known, ctx)
            if standing.ended:
                self._over(known, None, ctx)
            elif standing.announces:
                # It waits to be notified by itself if it lasts.
                kept.append(known.model_copy(update={"status": _PENDING, "due": ctx.now}))
            else:
                kept.append(known)
        ctx.records.put_all(STANDINGS, kept)

    def _over(self, standing: Standing, last: NotNotified | None, ctx: Context) -> None:
        """Nothing more is to be said of it; what was, and what not, is remembered."""
        facts = [last] if last else []
        decision_log.write(standing.incident_id, standing.series, *facts)
        history = extended(standing.history, *facts)
        heard = Heard(incident_id=standing.incident_id, history=history, due=ctx.now + self._keep)
        ctx.records.put(HEARD, heard)
        ctx.records.delete(STANDINGS, standing.incident_id)

    def _escalates_at(self, standing: Standing, now: datetime) -> datetime | None:
        steps = self._alerting.escalation
        if standing.acknowledged or standing.step >= len(steps):
            return None
        step = steps[standing.step]
        if RANK[standing.severity] < RANK[step.min_severity]:
            return None
        return now + timedelta(seconds=step.after_s)

    def _escalate(self, ctx: Context) -> None:
        """Nobody said that they take care of it: the next ones are notified."""
        for standing in ctx.records.find(
            STANDINGS, status=StandingStatus.NOTIFIED, due_before=ctx.now, limit=_MAX_REPEATS
        ):
            incident = ctx.records.get(INCIDENTS, standing.incident_id)
            step = self._alerting.escalation[standing.step : standing.step + 1]
            if incident is None or not step or standing.acknowledged:
                ctx.records.put(STANDINGS, standing.model_copy(update={"due": None}))
                continue
            notice = self._composed(standing, incident, "unanswered", ctx)
            self._dispatch.put(notice, ctx, only=step[0].channels)
            next_step = standing.model_copy(
                update={"step": standing.step + 1, "notices": standing.notices + 1}
            )
            due = self._escalates_at(next_step, ctx.now)
            ctx.records.put(STANDINGS, next_step.model_copy(update={"due": due}))


def _shared_notice(standing: Standing) -> str:
    """The key of the alerts that share a notice: those of a group.

    What a remediation ended is a story of its own. In a notice about the other ends of its machine
    nobody would look for it.
    """
    return f"{standing.group} handled" if standing.kind == "handled" else standing.group
