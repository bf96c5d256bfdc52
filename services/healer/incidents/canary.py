"""The canary: a series of our own that must raise an alarm and clear it, repeatedly.

Its samples take every sample's way: broker, detector, healer, channel. When a round is complete a
short notice goes to the channels that want the canary, such as a dead-man's switch; when rounds
stop, that switch and ``barograph_canary_last_success_timestamp_seconds`` say so.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from services.healer.model.canary import CANARIES, SERIES, CanaryState
from services.healer.model.incident import INCIDENTS
from services.healer.model.notice import Summary
from services.healer.model.series_incidents import incidents_of, open_incident
from services.healer.notify.compose import message_id
from services.healer.notify.dispatch import Dispatch
from shared.changes import with_changes
from shared.contracts import MetricBatch, Sample
from shared.contracts.alerts import Severity
from shared.contracts.message import deterministic_id
from shared.items import CANARY
from shared.observe import CANARY_LAST_SUCCESS, CANARY_ROUNDS, CANARY_SECONDS
from shared.service import Context

_KEPT = 5
_PATIENCE = 3


class Canary:
    """Advances the canary's round by one step per call.

    Args:
        every_s: pause between the beginnings of rounds.
        dispatch: where the notice of a complete round goes.
    """

    def __init__(self, every_s: float, dispatch: Dispatch) -> None:
        self._every = timedelta(seconds=every_s)
        self._dispatch = dispatch

    def step(self, ctx: Context) -> MetricBatch:
        """Check the state of the round, and return the sample to send next."""
        state = ctx.records.get(CANARIES, "canary") or CanaryState()
        now_state = self._next(state, ctx)
        if now_state != state:
            ctx.records.put(CANARIES, now_state)
        if now_state.ok_at is not None:
            CANARY_LAST_SUCCESS.set(now_state.ok_at.timestamp())
        value = 1.0 if now_state.step == "raise" else 0.0
        sample = Sample(item=CANARY, time_ms=int(ctx.now.timestamp() * 1000), value=value)
        return MetricBatch(host=SERIES.host, samples=(sample,))

    def _next(self, state: CanaryState, ctx: Context) -> CanaryState:
        now = ctx.now
        began, since = state.began or now, state.since or now
        raised = open_incident(ctx.records, SERIES) is not None
        if state.step == "rest":
            due = state.began is None or now - began >= self._every
            # An alarm left open by a lost round must end first.
            step: Literal["raise", "clear"] = "clear" if raised else "raise"
            return _stepped(state, step, now, began=now) if due else state
        if raised == (state.step == "raise"):
            CANARY_SECONDS.labels(state.step).set((now - since).total_seconds())
            if state.step == "raise":
                return _stepped(state, "clear", now)
            self._complete(began, ctx)
            return with_changes(_stepped(state, "rest", now), ok_at=now)
        if now - since > _PATIENCE * self._every:
            CANARY_ROUNDS.labels("failed").inc()
            return _stepped(state, "rest", now)
        return state

    def _complete(self, began: datetime, ctx: Context) -> None:
        CANARY_ROUNDS.labels("complete").inc()
        notice = Summary(
            message_id=message_id(deterministic_id("canary", began.isoformat()), 1),
            kind="canary",
            severity=Severity.INFO,
            headline="the test alarm came and went",
            at=ctx.now,
        )
        self._dispatch.put(notice, ctx)
        for old in incidents_of(ctx.records, SERIES)[_KEPT:]:
            ctx.records.delete(INCIDENTS, old.incident_id)


def _stepped(
    state: CanaryState,
    step: Literal["raise", "clear", "rest"],
    now: datetime,
    began: datetime | None = None,
) -> CanaryState:
    update = {"step": step, "since": now, "began": began or state.began or now}
    return with_changes(state, **update)
