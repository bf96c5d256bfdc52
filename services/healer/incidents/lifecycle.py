"""An incident's lifecycle, from its first signal to the end of its last.

Every step stores the incident and returns the messages that follow.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.healer.incidents.handling import Handling
from services.healer.incidents.store import FOREVER, IncidentStore
from services.healer.model.canary import about_canary
from services.healer.model.incident import INCIDENTS, REMEDYING, Incident
from services.healer.model.policy import worse
from services.healer.model.transitions import Phase, collected
from services.healer.settings import HealerSettings
from shared.contracts import Message
from shared.contracts.alerts import AlertState
from shared.service import Context


class Lifecycle:
    """Carries incidents through their phases, under these settings."""

    def __init__(self, settings: HealerSettings) -> None:
        self.incidents = IncidentStore(settings)
        self.handling = Handling(settings, self.incidents)

    @collected
    def changed(
        self, before: Incident | None, now: Incident, ctx: Context, why: str = ""
    ) -> Iterator[Message]:
        """Apply changed signals; ``why`` says in words how the last one ended."""
        if not now.signals:
            if now.phase in REMEDYING:
                ctx.records.put(INCIDENTS, now)  # a remediation in progress is verified first
            else:
                yield from self.handling.ended(now, ctx)
                yield from self.incidents.close(now, why, ctx)
            return
        if before is not None and worse(now.severity, before.severity):
            now = now.worse_than_acknowledged(ctx.now)
        commands: list[Message] = []
        rises = before is None or _rises(before, now) or self._likely_by_now(before, now)
        if rises and now.phase is Phase.WAITING and not about_canary(now.series):
            now, commands = self.handling.begin(now, ctx)
        elif now.phase is Phase.EVIDENCE and now.tell != "escalated":
            now = now.telling(now.state.value)
            self.incidents.update_waiting(now, ctx)
        else:
            self.incidents.update_waiting(now, ctx)
        yield from self.incidents.store(before, now, ctx)
        yield from commands

    def _likely_by_now(self, before: Incident, now: Incident) -> bool:
        """Return whether a prediction has become likely enough to act on."""
        likely = self.handling.execution.policy.likely_enough
        return (
            now.state is AlertState.PREDICTED
            and likely(now.series, now.observation.probability)
            and not likely(before.series, before.observation.probability)
        )

    @collected
    def overdue(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """Take the step that is due at this time."""
        match incident.phase:
            case Phase.WAITING:
                yield from self._signals_expired(incident, ctx)
            case Phase.CLOSED:
                ctx.records.delete(INCIDENTS, incident.incident_id)
            case _:
                yield from self.handling.overdue(incident, ctx)

    @collected
    def _signals_expired(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        left = {
            key: signal
            for key, signal in incident.signals.items()
            if signal.ends is None or signal.ends > ctx.now
        }
        # A signal that was not repeated may be repeated again; one that its source ended may not.
        now_ms = int(ctx.now.timestamp() * 1000)
        gone = {
            key: now_ms if signal.until is None else incident.ended.get(key, FOREVER)
            for key, signal in incident.signals.items()
            if key not in left
        }
        why = [s.ending for key, s in incident.signals.items() if key in gone and s.ending]
        now = incident.with_signals(left).dealt_with(gone).resting()
        yield from self.changed(incident, now, ctx, why[-1] if why else "it was not repeated")


def _rises(before: Incident, now: Incident) -> bool:
    fires = now.state is AlertState.FIRING and before.state is not AlertState.FIRING
    return fires or worse(now.severity, before.severity)
