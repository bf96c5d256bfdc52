"""Wiring of the healer."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterator
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
from services.healer.incidents.expiry import Batch, work_off
from services.healer.model.notification import LINK_KEYS, LinkKey
from services.healer.model.series_incidents import read_ahead
from services.healer.notify import measures, passes
from services.healer.notify.announcer import Part
from services.healer.notify.channels import Tools
from services.healer.notify.delivery import Deliverer
from services.healer.notify.failing_channels import FailingChannels
from services.healer.notify.links import LinkMaker, Links, Purpose
from services.healer.people import alerting_news
from services.healer.remediations import make
from services.healer.settings import HealerSettings
from shared import log_lines
from shared.contracts import (
    ActionDecide,
    AlarmPredicted,
    AlertingAsk,
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
    Message,
    PredictionWithdrawn,
    RemediationExecuted,
    RuleDecide,
)
from shared.messaging import BrokerUnavailable, Unroutable
from shared.service import Handler, Periodic
from shared.service.http import HttpServer
from shared.service.http_service import HttpService
from shared.settings import start
from shared.store import Store, opened

if TYPE_CHECKING:
    from services.healer.health.worker import HealthWorker
    from shared.rekeying import NumberAfter

_CANARY_STEP_S = 5.0
_MEASURE_S = 5.0
_GATHER_S = 0.03
"""The seconds for which alerts are gathered into one transaction, which costs as much as six of
them."""
_PAUSE_S = 0.1
"""The pause in seconds between two passes, so that in a storm one follows several batches."""
_UPKEEP_S = 0.5
"""The seconds between two looks for what is due at a time, of which a batch has no need."""
log = structlog.get_logger(__name__)


class HealerService(HttpService):
    """The service with its periodic work and its HTTP server."""

    settings: HealerSettings

    def __init__(self, settings: HealerSettings) -> None:
        self._healing = handlers = Handlers(settings, uptime)
        store = opened(settings.store_url.get_secret_value())
        links = Links(_keys(settings, store))
        tools = _tools(settings, links, frozenset(handlers.clicks))
        self._records, self._upkeep_at = store, 0.0
        super().__init__(
            "healer",
            settings,
            handlers=_consumed(handlers),
            store=store,
            read_ahead=read_ahead,
            gather_s=_GATHER_S,
            partition_worker=_health_of(settings, store, self._number_after),
            elected=True,
            periodic=[
                *self._passes(settings),
                *self._deliveries(settings, tools),
                *self._orders(settings, store),
            ],
        )
        healer = Healer(
            settings=settings,
            handlers=handlers,
            unit=self.any_unit,
            context=self.context,
            clock=self._now,
            links=links,
            clicks=handlers.clicks,
            tools=tools,
            wake=self.wake_eager,
        )
        self.http = HttpServer(create_app(healer), settings.http_host, settings.http_port)
        self.serve(self.http)

    def _passes(self, settings: HealerSettings) -> Iterator[Periodic]:
        yield Periodic("expire", 1.0, self._expire, eager=False)
        yield Periodic("flush", 1.0, self._flush, pause_s=_PAUSE_S)
        yield Periodic("measure", _MEASURE_S, self._measure, eager=False)
        yield Periodic("correlate", 3600.0, self._correlate, eager=False)
        yield Periodic("report", 60.0, self._report, eager=False)
        yield Periodic("groups", 300.0, self._judge_groups, eager=False)
        if settings.canary_every_s:
            yield Periodic("canary", _CANARY_STEP_S, self._send_canary, eager=False)

    def _deliveries(self, settings: HealerSettings, tools: Tools) -> Iterator[Periodic]:
        keep = timedelta(days=settings.keep_days)
        lease = timedelta(seconds=settings.delivery_lease_s)
        failing_after = timedelta(seconds=settings.alerting.channel_failing_s)
        failing = FailingChannels(self._healing.dispatch, failing_after)
        for each in settings.all_channels:
            deliverer = Deliverer(
                each,
                tools,
                self.unit,
                self._now,
                keep,
                failing,
                lease,
                self.require_leadership,
                alone=not self._records.serves_replicas,
            )
            yield Periodic(f"channel-{each.name}", 1.0, deliverer.run, pause_s=_PAUSE_S)

    def _orders(self, settings: HealerSettings, store: Store) -> Iterator[Periodic]:
        """The periodic work of the healer's own remediations: those of the cluster."""
        if not settings.remediations:
            return
        allowed = {name: make(name, fields) for name, fields in settings.remediations.items()}
        book = StoreBook(store.of_leader().transaction, self._now)
        remediator = Remediator(allowed, book, self._now, StoreEnvelope(self.unit))
        answered = self._healing.remediation_executed
        orders = ClusterOrders(self.unit, remediator, answered, settings.instance, self._now)
        yield Periodic("cluster", 1.0, orders.run, pause_s=_PAUSE_S)

    def _number_after(self, partition: int, offset: int) -> int | None:
        return self.bus.number_after(partition, offset)

    def _now(self) -> datetime:
        return self.context().now

    def _expire(self) -> None:
        expiry = self._healing.expiry
        self._expire_batch(expiry.clock)
        with self._records.reading() as records:
            batches = expiry.batches(self.context(records))
        work_off(batches, self._expire_batch)

    def _expire_batch(self, batch: Batch) -> None:
        with self.unit() as unit:
            unit.emit(*batch(self.context(unit.records)))

    def _flush(self) -> None:
        passes.make(self._parts(), self._in_transaction, passes.LONG_REST)

    def _parts(self) -> Iterator[Part]:
        announcer, now = self._healing.announcer, time.monotonic()
        if now >= self._upkeep_at:
            self._upkeep_at = now + _UPKEEP_S
            yield announcer.upkeep
        with self._records.reading() as records:
            parts = announcer.parts(self.context(records))
        yield from parts

    def _in_transaction(self, part: Part) -> None:
        with log_lines.together(), self.unit() as unit:
            part(self.context(unit.records))

    def _measure(self) -> None:
        # Apart from the passes, of which a storm makes ten a second, and without their turn.
        with self._records.reading() as records:
            measures.notification_states(self.context(records))

    def _judge_groups(self) -> None:
        with self.unit() as unit:
            health.forget(unit.records, self._now() - timedelta(days=self.settings.keep_days))
            unit.emit(*health.groups(unit.records, self.settings.policy.groups, self._now()))

    def _report(self) -> None:
        with self.unit() as unit:
            windows = self.settings.alerting.windows
            unit.emit(*alerting_news.unpublished(windows, self.context(unit.records)))

    def _correlate(self) -> None:
        with self.unit() as unit:
            context = self.context(unit.records)
            groups = self.settings.policy.groups
            unit.emit(*rules.mine(self.settings.correlation, groups, context))

    def _send_canary(self) -> None:
        with self.unit() as unit:
            sample = self._healing.canary.step(self.context(unit.records))
        try:
            # Not through the outbox: an old sample is useless, and a lost one is a failed round.
            self.bus.publish([sample], timeout_s=_CANARY_STEP_S)
        except (BrokerUnavailable, Unroutable) as error:
            log.warning("canary_not_sent", reason=str(error))


def _consumed(handlers: Handlers) -> dict[type[Message], Handler]:
    return {
        AnomalyDetected: handlers.anomaly_detected,
        AnomalyCleared: handlers.anomaly_cleared,
        AlarmPredicted: handlers.alarm_predicted,
        PredictionWithdrawn: handlers.prediction_withdrawn,
        EvidenceCollected: handlers.evidence_collected,
        RemediationExecuted: handlers.remediation_executed,
        ItemObserved: handlers.item_observed,
        IncidentAcknowledge: handlers.people.incident_acknowledge,
        ActionDecide: handlers.decisions.action_decide,
        HealingStop: handlers.decisions.healing_stop,
        HealingResume: handlers.decisions.healing_resume,
        RuleDecide: handlers.decisions.rule_decide,
        AnomalyJudge: handlers.decisions.anomaly_judge,
        AlertingAsk: alerting_news.asked,
        JobAccepted: handlers.jobs.accepted,
        JobPending: handlers.jobs.pending,
        JobRunning: handlers.jobs.running,
        JobSucceeded: handlers.jobs.succeeded,
        JobFailed: handlers.jobs.failed,
        JobCancelled: handlers.jobs.cancelled,
    }


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


def _health_of(
    settings: HealerSettings, store: Store, number_after: NumberAfter
) -> Callable[[int], HealthWorker]:
    book = health.Book(store)

    def worker(partition: int) -> HealthWorker:
        # numba takes as long to import as everything else: no alarm should wait for that.
        from services.healer.health.rekeying import select
        from services.healer.health.worker import HealthWorker
        from shared.rekeying import PartitionSnapshots

        remote = settings.snapshots == "s3"
        snapshots = PartitionSnapshots(
            settings, "healer", partition, select, number_after, remote=remote
        )
        return HealthWorker(partition, snapshots, book)

    return worker


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
    """Run until a signal asks for the end; the exit status is ``settings.start``'s."""
    return start(HealerSettings, "healer", _run)


def _run(settings: HealerSettings) -> None:
    if not settings.all_channels:
        log.warning(
            "no_channel_configured", reason="no CHANNELS and no SMTP_URL; alarms are only published"
        )
    # Python's 5 ms are long for a handler, which gives the interpreter up at each row it writes.
    sys.setswitchinterval(0.001)
    HealerService(settings).run()
