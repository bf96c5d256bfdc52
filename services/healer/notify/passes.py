"""The transactions of a pass: one after the other, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from shared.store import give_way
from shared.unavailable import Unavailable

P = TypeVar("P")
log = structlog.get_logger(__name__)


def make(parts: Iterable[P], transaction: Callable[[P], None]) -> None:
    """Do each part in a transaction of its own; one that fails keeps back none of the others.

    Raises:
        Unavailable: at once, because all others would fail as well.
        Exception: the first failure of a part, after all have been tried.
    """
    first: Exception | None = None
    for part in parts:
        try:
            transaction(part)
        except Unavailable:
            raise
        except Exception as error:
            # An alert that cannot be put into words must not keep people from hearing of others.
            log.exception("part_of_pass_failed")
            first = first or error
        give_way()  # to the handlers of messages, which must not wait for all parts
    if first is not None:
        raise first
