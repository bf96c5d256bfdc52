"""The transactions of a pass: one after the other, each by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from shared.store import give_way
from shared.unavailable import Unavailable

P = TypeVar("P")
LONG_REST = 3.0
"""With it a storm's summary takes a quarter of the interpreter: with more, the next alerts would
pile up while those so far are recorded."""
log = structlog.get_logger(__name__)


def make(parts: Iterable[P], transaction: Callable[[P], None], rest: float = 1.0) -> None:
    """Do each part in a transaction of its own; one that fails keeps back none of the others.

    Args:
        parts: the parts.
        transaction: it does one of them.
        rest: after each part the caller rests so many times as long as the part has computed,
            because handlers of messages want the database and the interpreter as well.

    Raises:
        Unavailable: at once, because all others would fail as well.
        Exception: the first failure of a part, after all have been tried.
    """
    first: Exception | None = None
    for part in parts:
        began = time.thread_time()
        try:
            transaction(part)
        except Unavailable:
            raise
        except Exception as error:
            # An alert that cannot be put into words must not keep people from hearing of others.
            log.exception("part_of_pass_failed")
            first = first or error
        give_way(rest * (time.thread_time() - began))
    if first is not None:
        raise first
