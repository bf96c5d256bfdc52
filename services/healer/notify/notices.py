"""Builds the notification about an incident from records and settings."""

from __future__ import annotations

from services.healer.model.action import ACTIONS
from services.healer.model.incident import Incident
from services.healer.model.notice import ENDINGS, Kind, Notice
from services.healer.model.notification import FLAPS, NotificationState, series_key
from services.healer.model.policy import Policy
from services.healer.notify import escalation
from services.healer.notify.compose import compose
from services.healer.notify.policy_words import in_words
from services.healer.notify.settings import Alerting
from shared.changes import changed
from shared.contracts.healing import ActionState
from shared.service import Context


def notice_of(
    notification: NotificationState,
    incident: Incident,
    kind: Kind,
    alerting: Alerting,
    policy: Policy,
    ctx: Context,
) -> Notice:
    """Build the notification about the incident's present state."""
    rule = policy.rule(incident.series, incident.observation.kind)
    action = None
    if incident.handling == "approve" and incident.action_id:
        action = ctx.records.get(ACTIONS, incident.action_id)
    asked = action is not None and action.state is ActionState.PROPOSED
    flap = ctx.records.get(FLAPS, series_key(incident.series)) if notification.flapping else None
    ends = notification.ends or (flap.announced_by if flap is not None else "")
    composed = compose(
        notification,
        incident,
        kind,
        ctx.now,
        runbook_url=(rule and rule.runbook_url) or alerting.runbook(incident.series.item),
        rule=in_words(policy, incident.series, incident.observation.kind),
        # A flapping alert does not go on as usual, and the first sentences say how.
        next_step=""
        if kind == "flapping"
        else escalation.next_step(notification, ctx.now, alerting),
        flap=flap,
        action=action if asked else None,
    )
    return changed(composed, ends=ends) if kind in ENDINGS else composed
