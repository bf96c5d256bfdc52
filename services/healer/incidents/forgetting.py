"""Deletes records that are kept only for a while."""

from __future__ import annotations

from typing import Any

from services.healer.model.commands import COMMANDS, ENDED, RUNS
from services.healer.model.healing import HEALINGS
from services.healer.model.notification import HEARD, NOTICES, SERIES_SEEN
from services.healer.remediations.kill_switch import RESUMPTIONS
from shared.service import Context
from shared.store import Collection

_FORGOTTEN: tuple[Collection[Any], ...] = (
    COMMANDS,
    RUNS,
    ENDED,
    HEALINGS,
    HEARD,
    NOTICES,
    RESUMPTIONS,
    SERIES_SEEN,
)


def forget_what_is_due(ctx: Context) -> None:
    """Delete records that have expired, whatever their state."""
    for collection in _FORGOTTEN:
        for record in ctx.records.find(collection, due_before=ctx.now):
            ctx.records.delete(collection, collection.key(record))
