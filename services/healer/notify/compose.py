"""Composes a notification about an incident from its records."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime

from services.healer.model.action import Action
from services.healer.model.incident import Incident
from services.healer.model.notice import ENDINGS, Kind, Line, Notice
from services.healer.model.notification import Flap, Standing
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
    standing: Standing,
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
        standing: what people know so far.
        incident: what they are notified of.
        kind: what the notice says of it.
        now: its time.
        runbook_url: where to read what to do.
        rule: what the policy says of it, in words.
        next_step: what happens next if nobody acts.
        flap: how its series flaps, if it does.
        action: what a person is asked to approve, if anything.
    """
    sight = incident.sight
    item = ITEMS.get(incident.series.item)
    unit = item.unit if item else ""
    found = incident.evidence
    exact = exact_command(incident.plan)
    calm = kind == "resolved" and standing.said == "flapping"
    return Notice(
        message_id=message_id(incident.incident_id, standing.notices + 1),
        thread_id=standing.thread_id,
        incident_id=incident.incident_id,
        group=standing.group,
        kind=kind,
        severity=standing.severity if kind in ENDINGS else incident.severity,
        series=incident.series,
        family=incident.family,
        labels=standing.labels,
        value=sight.value if kind not in ENDINGS or incident.left_at is None else incident.left_at,
        unit=unit,
        threshold=sight.threshold,
        above=sight.above,
        sentence=sight.sentence,
        signal=incident.signal,
        anomaly_kind=sight.kind,
        opening=calmed(incident, now) if calm else opening(incident, kind, now, flap, action),
        gone=incident.gone_since is not None,
        outcome=outcome(incident, kind),
        story=tuple(lines((*incident.narrative, *standing.history), unit, now)),
        next_step="" if kind in ENDINGS else next_step,
        runbook_url=runbook_url,
        rule=rule,
        crossing_ms=sight.crossing_ms,
        earliest_ms=sight.earliest_ms,
        latest_ms=sight.latest_ms,
        predicted_value=sight.predicted_value,
        recent=sight.recent,
        band=sight.band,
        after=incident.after,
        remediation=incident.remediation,
        evidence_title=found.title if found else "",
        evidence_truncated=found.truncated if found else False,
        evidence=found.rows if found else (),
        evidence_more=found.more if found else (),
        evidence_note=standing.note,
        actions=incident.actions,
        suggested_command=exact or suggested_command(incident.series, incident.family),
        planned=bool(exact),
        approval_id=incident.action_id if incident.handling == "approve" else "",
        acknowledged_by=incident.acknowledged_by,
        since=incident.opened_at,
        at=now,
    )


def line(standing: Standing, kind: Kind, cause: str = "") -> Line:
    """The alert in one row."""
    return Line(
        incident_id=standing.incident_id,
        kind=kind,
        severity=standing.severity,
        series=standing.series,
        family=standing.labels.get("family", "other"),
        value=standing.value,
        threshold=standing.threshold,
        sentence=standing.sentence,
        signal=standing.signal,
        labels=standing.labels,
        gone=standing.gone,
        cause=cause,
        alone=standing.alone,
        since=standing.since,
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
