"""Creates the notification state of an incident."""

from __future__ import annotations

from collections.abc import Sequence

from services.healer.model.incident import Incident
from services.healer.model.notification import NotificationState, NotificationStatus
from services.healer.notify.matchers import labels_of, value_of
from shared.contracts.alerts import AlertState


def notification_of(incident: Incident, group_by: Sequence[str]) -> NotificationState:
    """The first notification about the incident."""
    labels = labels_of(incident.series, incident.family, incident.severity)
    # Once a remediation was tried there is more to say than that something is predicted.
    predicted = incident.state is AlertState.PREDICTED and not incident.attempts
    return NotificationState(
        incident_id=incident.incident_id,
        series=incident.series,
        value=incident.observation.value,
        threshold=incident.observation.threshold,
        sentence=incident.observation.sentence,
        signal=incident.signal,
        labels=labels,
        severity=incident.severity,
        state=incident.state,
        crossing_ms=incident.observation.crossing_ms if predicted else None,
        since=incident.opened_at,
        gone=incident.gone_since is not None,
        status=NotificationStatus.WAITING,
        tell=incident.tell,
        group=",".join(f"{name}={value_of(name, labels)}" for name in group_by),
        flapping=incident.flapping,
        traceparent=incident.traceparent,
        acknowledged=bool(incident.acknowledged_by),
    )
