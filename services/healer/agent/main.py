"""Wiring of the node agent."""

from __future__ import annotations

from functools import partial
from threading import Event

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
from shared.contracts import Message
from shared.contracts.healing import HealingResume, HealingStop
from shared.contracts.remediation import EvidenceCollect, ItemRead, RemediationExecute
from shared.service import Handler, Periodic, Service
from shared.service.inlet import utc_now
from shared.settings import start
from shared.store import Store

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
"""Seconds between two checks for due work; commands are handled as they arrive."""


class Agent(Service):
    """The agent: samples go out, and commands are answered one by one."""

    def __init__(self, settings: AgentSettings) -> None:
        settings = settings.addressed()
        mask_also(settings.mask)
        samplers = makers(settings.volumes, settings.programs)
        self._publishing = Publishing(
            settings.host,
            [make() for make in samplers],
            interval_s=settings.interval_s,
            items=settings.items,
            kept=settings.kept_batches,
        )
        audit = Audit(settings.state_dir.expanduser() / "audit" / "remediations.jsonl")
        remediator = Remediator(settings.remediations_of(), audit, utc_now, Envelope(self.unit))
        reader = Reader(samplers, utc_now, self._is_stopping)
        collector = Collector(utc_now, self._is_stopping)
        # Two threads: whoever waits for evidence does not wait for a long cleaning.
        remediating = Executor(self, {RemediationExecute: remediator.perform})
        looking = Executor(self, {ItemRead: reader.perform, EvidenceCollect: collector.perform})
        super().__init__(
            "agent",
            settings,
            handlers=_consumed(settings.host),
            store=Store(settings.store_url.get_secret_value()),
            periodic=[
                Periodic("samples", min(_LOOK_S, settings.interval_s), self._sample),
                Periodic("publish", _LOOK_S, self._publish),
                Periodic("remediate", _LOOK_S, remediating.run),
                Periodic("look", _LOOK_S, looking.run),
                Periodic("forget", 3600.0, partial(forget, self)),
            ],
            word=settings.word,
        )

    def _is_stopping(self) -> Event:
        return self.stopping

    def _sample(self) -> None:
        # Two machines of one name would be one series, whose values jump.
        if not self.displaced and self._publishing.tick():
            self.wake("publish")

    def _publish(self) -> None:
        if self.undisputed:
            self._publishing.send(self.bus)


def _consumed(host: str) -> dict[type[Message], Handler]:
    return {
        EvidenceCollect: partial(handlers.evidence_collect, host=host),
        RemediationExecute: partial(handlers.remediation_execute, host=host),
        ItemRead: partial(handlers.item_read, host=host),
        HealingStop: partial(handlers.healing_stop, host=host),
        HealingResume: partial(handlers.healing_resume, host=host),
    }


def main() -> int:
    """Run until a signal asks for the end; the exit status is ``settings.start``'s."""
    return start(AgentSettings, "agent", _run)


def _run(settings: AgentSettings) -> None:
    agent = Agent(settings)
    allowed = sorted(settings.remediations_of())
    log.info("remediations_allowed", names=allowed, why="BAROGRAPH_AGENT_CLEAN, _REMEDIATIONS")
    agent.run()
