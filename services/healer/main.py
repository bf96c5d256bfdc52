"""Wiring of the healer."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from services.healer.actions.audit import StoreBook
from services.healer.actions.cluster_executor import ClusterOrders, StoreEnvelope
from services.healer.agent.remediate import Remediator
from services.healer.api.app import create_app
from services.healer.api.dependencies import Healer
from services.healer.correlation import rules
from services.healer.handlers import Handlers
from services.healer.health import records as health
from services.healer.incidents.clock_steps import uptime
from services.healer.model.incident import read_ahead
from services.healer.model.notification import LINK_KEYS, LinkKey
from services.healer.notify.channels import Tools
from services.healer.notify.delivery import Deliverer
from services.healer.notify.failing_channels import FailingChannels
from services.healer.notify.links import Links, Purpose
from services.healer.notify.render.text import LinkMaker
from services.healer.remediations import make
from services.healer.settings import HealerSettings
from shared.contracts import (
    ActionDecide,
    AlarmPredicted,
    AnomalyCleared,
    AnomalyDetected,
    AnomalyJudge,
    EvidenceCollected,
    HealingResume,
    HealingStop,
    IncidentAcknowledge,
    ItemObserved,
    JobAccepted,
    JobCancelled,
    JobFailed,
    JobPending,
    JobRunning,
    JobSucceeded,
    PredictionWithdrawn,
    RemediationExecuted,
    RuleDecide,
)
from shared.messaging import BrokerUnavailable, Unroutable
from shared.service import Periodic, Service, ServiceUnit
from shared.service.http import HttpServer
from shared.settings import start
from shared.store import Store

if TYPE_CHECKING:
    from services.healer.health.worker import HealthWorker

_CANARY_STEP_S = 5.0
_PAUSE_S = 0.1
"""In a storm, what follows from batches is done for several of them at once."""
log = structlog.get_logger(__name__)


class HealerService(Service):
    """The service and its HTTP server."""

    http: HttpServer

    def start(self) -> None:
        """Consume, then answer."""
        super().start()
        self.http.start()

    def stop(self) -> None:
        """Answer nothing more, then finish."""
        self.http.stop()
        super().stop()


def build(settings: HealerSettings) -> HealerService:
    """The service, ready to start."""
    handlers = Handlers(settings, uptime)
    store = Store(settings.store_url.get_secret_value())
    links = Links(_keys(settings, store))
    tools = _tools(settings, links, frozenset(handlers.clicks))

    def expire() -> None:
        with service.unit() as unit:
            unit.emit(*handlers.expire(service.context(unit.records)))

    def group_health() -> None:
        with service.unit() as unit:
            unit.emit(*health.groups(unit.records, settings.policy.groups, clock()))

    def correlate() -> None:
        with service.unit() as unit:
            context = service.context(unit.records)
            unit.emit(*rules.mine(settings.correlation, settings.policy.groups, context))

    def flush() -> None:
        with service.unit() as unit:
            handlers.flush(service.context(unit.records))

    def clock() -> datetime:
        return service.context().now

    def unit() -> AbstractContextManager[ServiceUnit]:
        return service.unit()

    def may_act() -> None:
        service.require_leadership()

    def canary() -> None:
        with service.unit() as unit:
            sample = handlers.canary.step(service.context(unit.records))
        try:
            # Not through the outbox: an old sample is worth nothing, and its loss a failed round.
            service.bus.publish([sample], timeout_s=_CANARY_STEP_S)
        except (BrokerUnavailable, Unroutable) as error:
            log.warning("canary_not_sent", reason=str(error))

    keep = timedelta(days=settings.keep_days)
    lease = timedelta(seconds=settings.delivery_lease_s)
    failing_after = timedelta(seconds=settings.alerting.channel_failing_s)
    failing = FailingChannels(handlers.dispatch, failing_after)
    deliverers = [
        Periodic(
            f"channel-{each.name}",
            1.0,
            Deliverer(each, tools, unit, clock, keep, failing, lease, may_act).run,
            pause_s=_PAUSE_S,
        )
        for each in settings.all_channels
    ]
    service = HealerService(
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
            IncidentAcknowledge: handlers.people.incident_acknowledge,
            ActionDecide: handlers.deciding.action_decide,
            HealingStop: handlers.deciding.healing_stop,
            HealingResume: handlers.deciding.healing_resume,
            RuleDecide: handlers.deciding.rule_decide,
            AnomalyJudge: handlers.deciding.anomaly_judge,
            JobAccepted: handlers.jobs.accepted,
            JobPending: handlers.jobs.pending,
            JobRunning: handlers.jobs.running,
            JobSucceeded: handlers.jobs.succeeded,
            JobFailed: handlers.jobs.failed,
            JobCancelled: handlers.jobs.cancelled,
        },
        store=store,
        read_ahead=read_ahead,
        partition_worker=_health_of(settings, store),
        elected=True,
        periodic=[
            Periodic("expire", 1.0, expire, eager=False),
            Periodic("flush", 1.0, flush, pause_s=_PAUSE_S),
            Periodic("correlate", 3600.0, correlate, eager=False),
            Periodic("groups", 300.0, group_health, eager=False),
            *deliverers,
            *(
                [Periodic("canary", _CANARY_STEP_S, canary, eager=False)]
                if settings.canary_every_s
                else []
            ),
            *(
                [Periodic("cluster", 1.0, lambda: orders.run(), pause_s=_PAUSE_S)]  # noqa: PLW0108 - made below
                if settings.remediations
                else []
            ),
        ],
    )
    orders = _orders(settings, store, unit, handlers, clock)
    healer = Healer(
        settings=settings,
        handlers=handlers,
        unit=service.any_unit,
        context=service.context,
        clock=clock,
        links=links,
        clicks=handlers.clicks,
        tools=tools,
        wake=service.wake_eager,
    )
    service.http = HttpServer(create_app(healer), settings.http_host, settings.http_port)
    return service


def _keys(settings: HealerSettings, store: Store) -> list[bytes]:
    """The configured keys, or one of our own that all replicas share."""
    given = settings.link_keys.get_secret_value().split(",")
    keys = [key.strip().encode() for key in given if key.strip()]
    if keys:
        return keys
    with store.transaction() as records:
        kept = records.get(LINK_KEYS, "links")
        if kept is None:
            kept = LinkKey(key=secrets.token_hex(32))
            records.put(LINK_KEYS, kept)
        return [kept.key.encode()]


def _health_of(settings: HealerSettings, store: Store) -> Callable[[int], HealthWorker]:
    book = health.Book(store)

    def worker(partition: int) -> HealthWorker:
        # With numba and the like, as long to import as all the rest: no alarm waits for that.
        from services.healer.health.worker import HealthWorker  # noqa: PLC0415
        from shared.snapshots import snapshot_store  # noqa: PLC0415

        remote = settings.snapshots == "s3"
        snapshots = snapshot_store(settings, "healer", partition, remote=remote)
        return HealthWorker(partition, snapshots, book)

    return worker


def _orders(
    settings: HealerSettings,
    store: Store,
    unit: Callable[[], AbstractContextManager[ServiceUnit]],
    handlers: Handlers,
    clock: Callable[[], datetime],
) -> ClusterOrders:
    allowed = {name: make(name, fields) for name, fields in settings.remediations.items()}
    book = StoreBook(store.of_leader().transaction, clock)
    remediator = Remediator(allowed, book, clock, StoreEnvelope(unit))
    return ClusterOrders(unit, remediator, handlers.remediation_executed, settings.instance, clock)


def _tools(settings: HealerSettings, links: Links, offered: frozenset[Purpose]) -> Tools:
    valid = timedelta(seconds=settings.alerting.link_valid_s)
    maker = LinkMaker(links, settings.public_url, valid, offered)
    return Tools(
        smtp_url=settings.smtp_url.get_secret_value(),
        mail_from=settings.mail_from,
        page_url=settings.page_url,
        links=maker if settings.public_url else None,
    )


def run() -> int:
    """Run until told to stop; the exit status is ``settings.start``'s."""
    return start(HealerSettings, "healer", _run)


def _run(settings: HealerSettings) -> None:
    if not settings.all_channels:
        log.warning("no_channel", reason="no CHANNELS and no SMTP_URL; alarms are only published")
    build(settings).run()
