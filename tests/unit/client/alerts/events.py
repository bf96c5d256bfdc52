"""Events about one series, with what a test wants changed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.contracts import (
    ActionChanged,
    AlarmPredicted,
    AlertChanged,
    AnomalyCleared,
    AnomalyDetected,
    PredictionWithdrawn,
    RemediationVerified,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
MINUTE_MS = 60_000
SERIES = {"host": "h7", "item": "df.bytes.used.percent", "labels": {"mount": "/var"}}


def an_id(name: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(name)))


ALERT, ANOMALY, PREDICTION, ACTION, COMMAND = map(
    an_id, ("alert", "anomaly", "prediction", "action", "command")
)


def changed(sequence: int, state: str, **fields: Any) -> AlertChanged:
    told = {
        "alert_id": ALERT,
        "sequence": sequence,
        "state": state,
        "severity": "critical",
        "family": "disk",
        "series": SERIES,
        "value": 81.5,
        "threshold": 80.0,
        "sentence": "the disk is nearly full",
        "at": NOW + timedelta(minutes=sequence),
    }
    return AlertChanged.model_validate(told | fields)


def anomaly(**fields: Any) -> AnomalyDetected:
    told = {
        "event_id": ANOMALY,
        "series": SERIES,
        "family": "disk",
        "time_ms": NOW_MS,
        "value": 81.5,
        "direction": "spike",
        "periodic": False,
        "votes": (),
        "sentence": "far above its normal range",
        "recent": curve(30, lambda n: 70 + n / 3),
        "band": [
            {"time_ms": NOW_MS - (30 - n) * MINUTE_MS, "mean": 70, "lower": 66, "upper": 75}
            for n in range(30)
        ],
        "threshold": 80.0,
    }
    return AnomalyDetected.model_validate(told | fields)


def cleared(**fields: Any) -> AnomalyCleared:
    told = {
        "event_id": ANOMALY,
        "series": SERIES,
        "family": "disk",
        "time_ms": NOW_MS + 5 * MINUTE_MS,
        "value": 61.0,
    }
    return AnomalyCleared.model_validate(told | fields)


def predicted(revision: int = 1, **fields: Any) -> AlarmPredicted:
    told = {
        "event_id": PREDICTION,
        "revision": revision,
        "series": SERIES,
        "family": "disk",
        "time_ms": NOW_MS + (revision - 1) * MINUTE_MS,
        "value": 76.25,
        "threshold": 80.0,
        "above": True,
        "crossing_ms": NOW_MS + 180 * MINUTE_MS,
        "earliest_ms": NOW_MS + 130 * MINUTE_MS,
        "latest_ms": NOW_MS + 330 * MINUTE_MS,
        "predicted_value": 84.0,
        "probability": 0.9,
        "forecaster": "arima",
        "sentence": "the disk fills",
        "recent": curve(30, lambda n: 70 + n / 5),
        "forecast": [
            {
                "time_ms": NOW_MS + n * 10 * MINUTE_MS,
                "mean": 76 + n / 4,
                "lower": 75 + n / 8,
                "upper": 77 + n / 2,
            }
            for n in range(24)
        ],
    }
    return AlarmPredicted.model_validate(told | fields)


def withdrawn(**fields: Any) -> PredictionWithdrawn:
    told = {
        "event_id": PREDICTION,
        "series": SERIES,
        "family": "disk",
        "time_ms": NOW_MS + 6 * MINUTE_MS,
        "value": 61.0,
        "outcome": "averted",
    }
    return PredictionWithdrawn.model_validate(told | fields)


def verified(**fields: Any) -> RemediationVerified:
    told = {
        "incident_id": ALERT,
        "command_id": COMMAND,
        "series": SERIES,
        "remediation": "clean-logs",
        "before": 81.5,
        "after": 61.0,
        "effective": True,
        "at": NOW + timedelta(minutes=4),
    }
    return RemediationVerified.model_validate(told | fields)


def action(sequence: int, state: str, **fields: Any) -> ActionChanged:
    told = {
        "action_id": ACTION,
        "incident_id": ALERT,
        "sequence": sequence,
        "state": state,
        "level": "approve",
        "remediation": "clean-logs",
        "series": SERIES,
        "target": "h7",
        "by": "ann",
        "at": NOW + timedelta(minutes=2),
    }
    return ActionChanged.model_validate(told | fields)


def curve(points: int, value: Any) -> list[dict[str, float]]:
    return [
        {"time_ms": NOW_MS - (points - n) * MINUTE_MS, "value": value(n)} for n in range(points)
    ]
