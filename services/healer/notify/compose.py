"""Composes a notification about an incident from its records."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime

from services.healer.model.action import Action
from services.healer.model.incident import Incident
from services.healer.model.notice import ENDINGS, Kind, Line, Notice
from services.healer.model.notification import Flap, NotificationState
from services.healer.notify.opening import calmed, opening, outcome
from services.healer.notify.render.numbers import one_line
from services.healer.notify.render.story import lines
from services.healer.remediations.base import pasteable
from shared.contracts.alerts import SeriesRef
from shared.contracts.remediation import RemediationStep
from shared.items import ITEMS

ASKABLE = frozenset({"cpu", "memory", "disk", "net", "load"})
"""Families for which a machine can name the cause."""

_COMMANDS_SHOWN = 10
_COMMANDS = {
    "cpu": "top -b -n 1 -o %CPU | head -n 20",
    "load": "top -b -n 1 -o %CPU | head -n 20",
    "memory": "ps -eo pid,user,rss,args --sort=-rss | head -n 20",
    "net": "ss -tunp state established",
    "time": "timedatectl timesync-status",
}


def compose(
    notification: NotificationState,
    incident: Incident,
    kind: Kind,
    now: datetime,
    *,
    runbook_url: str = "",
    rule: str = "",
    next_step: str = "",
    flap: Flap | None = None,
    action: Action | None = None,
) -> Notice:
    """The next notice about the incident; it begins a thread of its own if it is the first.

    Args:
        notification: what people know so far.
        incident: what they are notified of.
        kind: what the notice says of it.
        now: its time.
        runbook_url: where to read what to do.
        rule: what the policy says of it, in words.
        next_step: what happens next if nobody acts.
        flap: how its series flaps, if it does.
        action: what a person is asked to approve, if anything.
    """
    observation = incident.observation
    item = ITEMS.get(incident.series.item)
    unit = item.unit if item else ""
    found = incident.evidence
    exact = exact_command(incident.plan)
    calm = kind == "resolved" and notification.said == "flapping"
    return Notice(
        message_id=message_id(incident.incident_id, notification.notices + 1),
        thread_id=notification.thread_id,
        incident_id=incident.incident_id,
        group=notification.group,
        kind=kind,
        severity=notification.severity if kind in ENDINGS else incident.severity,
        series=incident.series,
        family=incident.family,
        labels=notification.labels,
        value=observation.value
        if kind not in ENDINGS or incident.left_at is None
        else incident.left_at,
        unit=unit,
        threshold=observation.threshold,
        above=observation.above,
        sentence=observation.sentence,
        signal=incident.signal,
        anomaly_kind=observation.kind,
        opening=calmed(incident, now) if calm else opening(incident, kind, now, flap, action),
        gone=incident.gone_since is not None,
        outcome=outcome(incident, kind),
        story=tuple(lines((*incident.narrative, *notification.history), unit, now)),
        next_step="" if kind in ENDINGS else next_step,
        runbook_url=runbook_url,
        rule=rule,
        crossing_ms=observation.crossing_ms,
        earliest_ms=observation.earliest_ms,
        latest_ms=observation.latest_ms,
        predicted_value=observation.predicted_value,
        recent=observation.recent,
        band=observation.band,
        after=incident.after,
        remediation=incident.remediation,
        evidence_title=found.title if found else "",
        evidence_truncated=found.truncated if found else False,
        evidence=found.rows if found else (),
        evidence_more=found.more if found else (),
        evidence_note=notification.note,
        actions=incident.actions,
        suggested_command=exact or suggested_command(incident.series, incident.family),
        planned=bool(exact),
        approval_id=incident.action_id if incident.handling == "approve" else "",
        acknowledged_by=incident.acknowledged_by,
        since=incident.opened_at,
        at=now,
    )


def line(notification: NotificationState, kind: Kind, cause: str = "") -> Line:
    """The alert in one row."""
    return Line(
        incident_id=notification.incident_id,
        kind=kind,
        severity=notification.severity,
        series=notification.series,
        family=notification.labels.get("family", "other"),
        value=notification.value,
        threshold=notification.threshold,
        sentence=notification.sentence,
        signal=notification.signal,
        labels=notification.labels,
        gone=notification.gone,
        cause=cause,
        alone=notification.alone,
        since=notification.since,
    )


def exact_command(plan: Sequence[RemediationStep]) -> str:
    """The commands by which a person would do the first of what is planned, with their effects."""
    commands = {step.command: step for step in plan if pasteable(step.command)}
    lines = []
    for command, step in list(commands.items())[:_COMMANDS_SHOWN]:
        if step.diff:
            # Quoted, since not every shell takes what follows a # for a comment.
            lines.append(f"# {shlex.quote(one_line(f'{step.target}: {step.diff}'))}")
        lines.append(command)
    rest = len(commands) - _COMMANDS_SHOWN
    return "\n".join([*lines, *([f"# and {rest} more like these"] if rest > 0 else [])])


def message_id(about: str, number: int) -> str:
    """A notice's id: the same for the same notice, whoever makes it."""
    return f"{about}.{number}@barograph"


def suggested_command(series: SeriesRef, family: str) -> str:
    """Return where a person would look first; empty when there is no general answer."""
    if family == "disk" and series.labels.get("mount", "\n").isprintable():
        mount = shlex.quote(series.labels["mount"])
        return f"du -xh --max-depth=2 -- {mount} | sort -rh | head -n 20"
    if family == "host":
        return f"ping -c 3 -- {shlex.quote(series.host)}"
    return _COMMANDS.get(family, "")
