"""Wiring of the healer."""

from __future__ import annotations

import sys

import structlog

from services.healer.handlers import Handlers
from services.healer.post import Post
from services.healer.settings import HealerSettings
from shared.contracts import (
    AlarmPredicted,
    AnomalyCleared,
    AnomalyDetected,
    EvidenceCollected,
    ItemObserved,
    PredictionWithdrawn,
    RemediationExecuted,
)
from shared.service import Periodic, Service
from shared.settings import SettingsError
from shared.store import Store

log = structlog.get_logger(__name__)


def build(settings: HealerSettings) -> Service:
    """The service, ready to start."""
    handlers = Handlers(settings)

    def expire() -> None:
        with service.unit() as unit:
            unit.emit(*handlers.expire(service.context(unit.records)))

    post = Post(settings, lambda: service.unit(), lambda: service.context().now)  # noqa: PLW0108
    service = Service(
        "healer",
        settings,
        handlers={
            AnomalyDetected: handlers.anomaly_detected,
            AnomalyCleared: handlers.anomaly_cleared,
            AlarmPredicted: handlers.alarm_predicted,
            PredictionWithdrawn: handlers.prediction_withdrawn,
            EvidenceCollected: handlers.evidence_collected,
            RemediationExecuted: handlers.remediation_executed,
            ItemObserved: handlers.item_observed,
        },
        store=Store(settings.store_url.get_secret_value()),
        periodic=[Periodic("expire", 1.0, expire), Periodic("mail", 2.0, post.run)],
    )
    return service


def run() -> int:
    """Exit status 2 for settings that are not usable."""
    try:
        settings = HealerSettings.load("healer")
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not settings.recipients:
        log.warning("no_mail", reason="no SMTP_URL or no MAIL_TO; alarms are only published")
    build(settings).run()
    return 0
