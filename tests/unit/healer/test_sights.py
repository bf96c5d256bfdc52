"""Tests of what is shown of an alert that has several signals: the worst one that still holds."""

from __future__ import annotations

from services.healer.model.incident import INCIDENTS, Incident
from shared.contracts import AnomalyDetected
from shared.contracts.alerts import Severity
from tests.unit.healer.test_incidents import DISK, Desk, anomaly, cleared, prediction, withdrawn

ALARM = anomaly(DISK, 1)
STRANGE = anomaly(DISK, 2, Severity.WARNING).model_copy(
    update={"value": 70.0, "sentence": "a higher level"}
)


def _incident(desk: Desk) -> Incident:
    with desk.store.transaction() as records:
        (found,) = records.find(INCIDENTS)
        return found


def _shown(*messages: AnomalyDetected) -> tuple[Desk, Incident]:
    desk = Desk()
    desk.take(*messages)
    desk.later(16)
    return desk, _incident(desk)


def test_an_anomaly_does_not_hide_the_alarm_of_its_series() -> None:
    for order in ((ALARM, STRANGE), (STRANGE, ALARM)):
        desk, incident = _shown(*order)
        assert (incident.observation.value, incident.severity) == (93.0, Severity.CRITICAL)
        assert "above its threshold of 90 %" in desk.mails()[-1].opening
        assert desk.mails()[-1].sentence == ALARM.sentence


def test_what_is_left_when_the_alarm_has_ended_is_shown_for_what_it_is() -> None:
    desk, _ = _shown(STRANGE, ALARM)
    desk.take(cleared(ALARM))
    incident = _incident(desk)
    assert (incident.observation.value, incident.severity) == (70.0, Severity.WARNING)
    assert incident.signal == "anomaly"
    desk.take(prediction())
    desk.take(cleared(STRANGE))
    assert (_incident(desk).signal, _incident(desk).observation.crossing_ms) == (
        "prediction",
        prediction().crossing_ms,
    )
    desk.take(withdrawn(prediction(), "did_not_come"))
    assert _incident(desk).closed_at is not None
