"""A pass of notifications as the healer's service makes it: a transaction for each part."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.healer.handlers import Handlers
from shared.service import Context


class KilledError(Exception):
    """The process dies before its transaction is complete."""


def notify(handlers: Handlers, store: Any, now: datetime, killed_in: int | None = None) -> None:
    """One pass; the part with the number ``killed_in`` is done and never committed."""
    done = 0

    def transaction(part: Any) -> None:
        nonlocal done
        with store.transaction() as records:
            part(Context(now, "", 1, records))
            if done == killed_in:
                raise KilledError
        done += 1

    transaction(handlers.announcer.upkeep)
    with store.reading() as records:
        parts = handlers.announcer.parts(Context(now, "", 1, records))
    for part in parts:
        transaction(part)
