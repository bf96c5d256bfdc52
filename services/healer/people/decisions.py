"""People's decisions: approve, refuse, stop, resume, accept a rule, judge an alarm."""

from __future__ import annotations

from collections.abc import Iterator

from services.healer.actions import audit
from services.healer.correlation import rules
from services.healer.incidents.handling import Handling
from services.healer.model.action import SWITCHES
from services.healer.model.incident import INCIDENTS
from services.healer.model.transitions import collected
from services.healer.remediations import kill_switch
from services.healer.settings import HealerSettings
from shared.contracts import (
    ActionDecide,
    AnomalyJudge,
    AnomalyJudged,
    HealingResume,
    HealingStop,
    HealingSwitched,
    Message,
    RuleDecide,
)
from shared.contracts.alerts import Direction
from shared.contracts.message import deterministic_id
from shared.service import Context


class Decisions:
    """Handles people's decisions, one method per message; all are in the audit log."""

    def __init__(self, settings: HealerSettings, handling: Handling) -> None:
        self._settings = settings
        self._handling = handling

    @collected
    def action_decide(self, message: ActionDecide, ctx: Context) -> Iterator[Message]:
        """Approve or refuse a proposed action."""
        audit.note(
            ctx.records,
            ctx.now,
            "action decide",
            message.action_id,
            action_id=message.action_id,
            approve=message.approve,
            by=message.by,
            reason=message.reason,
        )
        yield from self._handling.decided(message, ctx)

    @collected
    def healing_stop(self, message: HealingStop, ctx: Context) -> Iterator[Message]:
        """The kill switch: nothing starts any more; agents stop what is in progress."""
        # A use of the switch by the API is recorded there, and its message comes here as well.
        if holds := kill_switch.stop(message, SWITCHES, ctx.records, ctx.now):
            yield self._switched(holds, ctx, stopped=True)

    @collected
    def healing_resume(self, message: HealingResume, ctx: Context) -> Iterator[Message]:
        """Revoke a stop with the same pattern; a later stop still applies."""
        if kill_switch.resume(message, SWITCHES, ctx.records, ctx.now):
            yield self._switched(message, ctx, stopped=False)

    @staticmethod
    def _switched(
        message: HealingStop | HealingResume, ctx: Context, *, stopped: bool
    ) -> HealingSwitched:
        fields = {"hosts": message.hosts, "by": message.by, "reason": message.reason}
        audit.note(ctx.records, ctx.now, message.TYPE, message.switch_id, **fields)
        return HealingSwitched(
            switch_id=message.switch_id,
            stopped=stopped,
            at=ctx.now,
            hosts=message.hosts,
            by=message.by,
            reason=message.reason,
        )

    @collected
    def rule_decide(self, message: RuleDecide, ctx: Context) -> Iterator[Message]:
        """Accept or reject a correlation rule."""
        audit.note(
            ctx.records,
            ctx.now,
            message.TYPE,
            message.rule_id,
            rule_id=message.rule_id,
            accept=message.accept,
            by=message.by,
            reason=message.reason,
        )
        yield from rules.decided(message, ctx)

    @collected
    def anomaly_judge(self, message: AnomalyJudge, ctx: Context) -> Iterator[Message]:
        """A label for the detector that raised the alarm."""
        incident = ctx.records.get(INCIDENTS, message.alert_id)
        audit.note(
            ctx.records,
            ctx.now,
            message.TYPE,
            message.alert_id,
            incident_id=message.alert_id,
            anomaly=message.anomaly,
            by=message.by,
            reason=message.reason,
            known=incident is not None,
        )
        if incident is None:
            return
        yield AnomalyJudged(
            # The time is in it: whoever judges again what was taken back gives a new label.
            label_id=deterministic_id(
                "label", message.alert_id, message.anomaly, message.by, message.at.isoformat()
            ),
            series=incident.series,
            direction=incident.observation.direction or _side(above=incident.observation.above),
            anomaly=message.anomaly,
            value=incident.observation.value,
            alert_id=message.alert_id,
            by=message.by,
            reason=message.reason,
            at=message.at,
        )


def _side(*, above: bool) -> Direction:
    return Direction.SPIKE if above else Direction.DROP
