"""The healer's passes as its service makes them: a transaction for each part."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.healer.handlers import Handlers
from services.healer.incidents.expiry import Batch
from shared.contracts import Message
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


def expire(
    handlers: Handlers,
    store: Any,
    now: datetime,
    killed_in: int | None = None,
    answers: list[Message] | None = None,
) -> list[Message]:
    """One pass over what is due; the messages that follow, also in ``answers`` as they are sent."""
    answers = [] if answers is None else answers
    done = 0

    def transaction(batch: Batch) -> None:
        nonlocal done
        with store.transaction() as records:
            found = batch(Context(now, "", 1, records))
            if done == killed_in:
                raise KilledError
        answers.extend(found)
        done += 1

    transaction(handlers.expiry.clock)
    with store.reading() as records:
        batches = handlers.expiry.batches(Context(now, "", 1, records))
    for batch in batches:
        transaction(batch)
    return answers
