"""Wiring of the healer."""

from __future__ import annotations

import sys
from datetime import timedelta

import structlog

from services.healer.channels import Tools
from services.healer.delivering import Deliverer
from services.healer.handlers import Handlers
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

    def flush() -> None:
        with service.unit() as unit:
            handlers.flush(service.context(unit.records))

    deliverers = [
        Deliverer(
            channel, _tools(settings), lambda: service.unit(), lambda: service.context().now,  # noqa: PLW0108
            timedelta(days=settings.keep_days),
        )
        for channel in settings.all_channels
    ]  # fmt: skip
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
        periodic=[
            Periodic("expire", 1.0, expire),
            Periodic("flush", 1.0, flush),
            *(
                Periodic(f"channel-{channel.name}", 1.0, deliverer.run)
                for channel, deliverer in zip(settings.all_channels, deliverers, strict=True)
            ),
        ],
    )
    return service


def _tools(settings: HealerSettings) -> Tools:
    return Tools(
        smtp_url=settings.smtp_url.get_secret_value(),
        mail_from=settings.mail_from,
        page_url=settings.page_url,
    )


def run() -> int:
    """Exit status 2 for settings that are not usable."""
    try:
        settings = HealerSettings.load("healer")
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not settings.all_channels:
        log.warning("no_channel", reason="no CHANNELS and no SMTP_URL; alarms are only published")
    build(settings).run()
    return 0
