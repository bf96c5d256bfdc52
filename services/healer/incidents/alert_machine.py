"""Which machine an alert is about whose labels name two."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.healer.health.records import HEALTH
from services.healer.incidents.alertmanager_alerts import (
    Outside,
    OutsideAlert,
    machines_named,
    understood,
)
from services.healer.incidents.answers import ANSWERED
from services.healer.model.incident import open_incident
from shared.store import Records


def located(
    alert: OutsideAlert, now: datetime, timeout: timedelta | None, records: Records
) -> Outside:
    """The alert as a signal about the machine that is meant.

    A label ``host`` may be the name of the machine behind ``instance``, or a virtual host on it. A
    machine that sends samples or runs an agent is one. What an open incident was about first
    stays so, since its end must find it.
    """
    named = machines_named(alert.labels)
    found = [understood(alert, now, timeout, machine) for machine in named]
    if len(found) == 1:
        return found[0]
    known_open = (each for each in found if open_incident(records, each.series) is not None)
    known = (each for each in found if _is_known(each.series.host, records))
    return next(known_open, None) or next(known, found[0])


def _is_known(host: str, records: Records) -> bool:
    return (
        records.get(HEALTH, f"machine/{host}") is not None
        or records.get(ANSWERED, host) is not None
    )
