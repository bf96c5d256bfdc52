"""What a mail about an incident says."""

from __future__ import annotations

import shlex
from datetime import datetime

from services.healer.mail.content import Notice
from services.healer.records import Incident, Told
from shared.contracts import EvidenceCollected
from shared.contracts.alerts import SeriesRef
from shared.items import ITEMS

ASKABLE = frozenset({"cpu", "memory", "disk", "net", "load"})
"""Families for which a machine can name the cause."""

_COMMANDS = {
    "cpu": "top -b -n 1 -o %CPU | head -n 20",
    "load": "top -b -n 1 -o %CPU | head -n 20",
    "memory": "ps -eo pid,user,rss,args --sort=-rss | head -n 20",
    "net": "ss -tunp state established",
    "time": "timedatectl timesync-status",
}


def compose(
    incident: Incident, tell: Told, now: datetime, found: EvidenceCollected | None, note: str
) -> Notice:
    """The incident's mail number ``incident.mails``."""
    sight = incident.sight
    item = ITEMS.get(incident.series.item)
    return Notice(
        message_id=_message_id(incident, incident.mails),
        thread_id=_message_id(incident, 1) if incident.mails > 1 else "",
        kind=tell,
        severity=incident.severity,
        series=incident.series,
        family=incident.family,
        value=sight.value,
        unit=item.unit if item else "",
        threshold=sight.threshold,
        above=sight.above,
        sentence=sight.sentence,
        crossing_ms=sight.crossing_ms,
        earliest_ms=sight.earliest_ms,
        latest_ms=sight.latest_ms,
        predicted_value=sight.predicted_value,
        recent=sight.recent,
        band=sight.band,
        evidence_title=found.title if found else "",
        evidence=found.rows if found else (),
        evidence_note=note,
        actions=incident.actions,
        suggested_command=suggested_command(incident.series, incident.family),
        at=now,
    )


def suggested_command(series: SeriesRef, family: str) -> str:
    """Where a person would look first; empty when there is no general answer."""
    if family == "disk" and "mount" in series.labels:
        mount = shlex.quote(series.labels["mount"])
        return f"du -xh --max-depth=2 -- {mount} | sort -rh | head -n 20"
    if family == "host":
        return f"ping -c 3 -- {shlex.quote(series.host)}"
    return _COMMANDS.get(family, "")


def _message_id(incident: Incident, number: int) -> str:
    return f"{incident.incident_id}.{number}@barograph"
