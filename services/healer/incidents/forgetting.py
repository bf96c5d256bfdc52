"""Deletes records that are kept only for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from services.healer.actions import scores
from services.healer.incidents.answers import ANSWERED
from services.healer.model.action import MACHINES, OUTCOMES
from services.healer.model.commands import COMMANDS, ENDED, RUNS
from services.healer.model.healing import HEALINGS
from services.healer.model.notification import DELIVERIES, HEARD, NOTICES, SERIES_SEEN
from services.healer.notify.silences import SILENCES
from services.healer.remediations.kill_switch import RESUMPTIONS
from shared.service import Context
from shared.store import Collection

_DONE = ("sent", "refused", "digested")
_FORGOTTEN: tuple[Collection[Any], ...] = (
    ANSWERED,
    COMMANDS,
    OUTCOMES,
    RUNS,
    ENDED,
    HEALINGS,
    HEARD,
    NOTICES,
    RESUMPTIONS,
    SERIES_SEEN,
)


def forget_what_is_due(keep: timedelta, ctx: Context) -> None:
    """Delete records that have expired; those of machines and silences after ``keep``."""
    for collection in _FORGOTTEN:
        for record in ctx.records.find(collection, due_before=ctx.now):
            ctx.records.delete(collection, collection.key(record))
    for delivery in ctx.records.find(DELIVERIES, status=_DONE, due_before=ctx.now):
        ctx.records.delete(DELIVERIES, delivery.delivery_id)
    for machine in ctx.records.find(MACHINES, due_before=ctx.now - keep):
        ctx.records.delete(MACHINES, machine.host)
    for silence in ctx.records.find(SILENCES, due_before=ctx.now - keep):
        ctx.records.delete(SILENCES, silence.silence_id)
    scores.forget(ctx)
