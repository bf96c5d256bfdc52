"""Wiring of the node agent."""

from __future__ import annotations

from functools import partial

import structlog

from services.healer.agent import handlers
from services.healer.agent.envelope import Envelope
from services.healer.agent.evidence import Collector
from services.healer.agent.executor import Executor, forget
from services.healer.agent.publishing import Publishing
from services.healer.agent.readings import Reader
from services.healer.agent.remediate import Remediator
from services.healer.agent.samplers import makers
from services.healer.agent.settings import AgentSettings
from services.healer.masking import mask_also
from services.healer.remediations.audit import Audit
from shared.contracts.alerts import EvidenceCollect, ItemRead, RemediationExecute
from shared.contracts.healing import HealingResume, HealingStop
from shared.service import Periodic, Service
from shared.service.inlet import utc_now
from shared.settings import start
from shared.store import Store

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
"""Seconds between two looks at what is due; commands are looked at as soon as they come."""


def build(settings: AgentSettings) -> Service:
    """The agent, ready to start."""
    settings = settings.addressed()
    mask_also(settings.mask)
    audit = Audit(settings.state_dir.expanduser() / "audit" / "remediations.jsonl")
    samplers = makers(settings.volumes, settings.programs)
    publishing = Publishing(
        settings.host,
        [make() for make in samplers],
        interval_s=settings.interval_s,
        items=settings.items,
        kept=settings.kept_batches,
    )

    def sample() -> None:
        if publishing.tick():
            service.wake("publish")

    def remediate() -> None:
        remediating.run()

    def look() -> None:
        looking.run()

    service = Service(
        "agent",
        settings,
        handlers={
            EvidenceCollect: partial(handlers.evidence_collect, host=settings.host),
            RemediationExecute: partial(handlers.remediation_execute, host=settings.host),
            ItemRead: partial(handlers.item_read, host=settings.host),
            HealingStop: partial(handlers.healing_stop, host=settings.host),
            HealingResume: partial(handlers.healing_resume, host=settings.host),
        },
        store=Store(settings.store_url.get_secret_value()),
        periodic=[
            Periodic("samples", min(_LOOK_S, settings.interval_s), sample),
            Periodic("publish", _LOOK_S, lambda: publishing.send(service.bus)),
            Periodic("remediate", _LOOK_S, remediate),
            Periodic("look", _LOOK_S, look),
            Periodic("forget", 3600.0, lambda: forget(service)),
        ],
        word=settings.word,
    )
    remediator = Remediator(
        settings.remediations_of(),
        audit,
        utc_now,
        Envelope(lambda: service.unit()),  # noqa: PLW0108
    )
    reader = Reader(samplers, utc_now, lambda: service.stopping)
    collector = Collector(utc_now, lambda: service.stopping)
    # Two threads: whoever waits for evidence does not wait for a long cleaning.
    remediating = Executor(service, {RemediationExecute: remediator.perform})
    looking = Executor(service, {ItemRead: reader.perform, EvidenceCollect: collector.perform})
    return service


def main() -> int:
    """Run until told to stop; the exit status is ``settings.start``'s."""
    return start(AgentSettings, "agent", _run)


def _run(settings: AgentSettings) -> None:
    service = build(settings)
    allowed = sorted(settings.remediations_of())
    log.info("remediations_allowed", names=allowed, why="BAROGRAPH_AGENT_CLEAN, _REMEDIATIONS")
    service.run()
