"""Logs one line for each fact of an alert's narrative.

A line's event name says what was decided; ``alert_id`` and ``trace_id`` say about which alert and
in which trace, and the fact's own fields say the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import structlog

from services.healer.model.narrative import Fact
from shared.contracts.alerts import SeriesRef
from shared.traces import parts

log = structlog.get_logger(__name__)

EVENTS: Mapping[str, tuple[str, str]] = {
    "predicted": ("alert_predicted", "a forecast crosses the threshold"),
    "alarm": ("alert_fires", "a value is beyond its threshold, or another system's rule fired"),
    "anomaly": ("alert_anomalous", "a value is unusual for its series"),
    "evidence": ("alert_evidence", "the machine sent its evidence of the cause, or did not answer"),
    "held": ("alert_held", "people are not notified for now: why, and until when"),
    "notified": ("alert_notified", "a notification was given to the channels"),
    "not notified": ("alert_not_notified", "there is no longer anything to notify people of"),
    "decided": ("alert_decided", "the policy or a person decided on an action"),
    "executed": ("alert_remedied", "a remediation was executed, or could not be"),
    "verified": ("alert_verified", "the value was read again after a remediation"),
    "acknowledged": ("incident_acknowledged", "somebody acknowledged it"),
    "ended": ("alert_closed", "it is over"),
}
"""Kind of fact to event name and meaning."""
_APART = frozenset({"kind", "at"})
"""The line has its own event name and time."""


def write(alert_id: str, series: SeriesRef, traceparent: str, *facts: Fact) -> None:
    """Log each fact on a line of its own, in the trace of the signal that opened the alert."""
    found = parts(traceparent)
    trace = {"trace_id": found[0]} if found else {}
    for fact in facts:
        known = {
            name: _shown(value)
            for name, value in fact.__dict__.items()
            if value is not None and name not in _APART
        }
        event = EVENTS[fact.kind][0]
        log.info(event, alert_id=alert_id, host=series.host, item=series.item, **trace, **known)


def _shown(value: object) -> object:
    """A field of a fact as JSON has it; the facts' others are numbers and texts already."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
