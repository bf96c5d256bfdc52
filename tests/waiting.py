"""Waiting in tests: for a condition, never for a time.

The limit is there for what never comes, and makes no test slower: it is one for all, long, and in
seconds of an idle machine, so that a busy one takes longer and fails nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from shared.embedded.patience import Patience

LIMIT_S = 300.0

_T = TypeVar("_T")


def eventually(
    read: Callable[[], _T], what: str, timeout_s: float = LIMIT_S, pause_s: float = 0.1
) -> _T:
    """Read until it gives something true; AssertionError with ``what`` when it never does.

    A limit that a caller gives can only be longer than the one for all.
    """
    patience = Patience(max(timeout_s, LIMIT_S))
    while True:
        value = read()
        if value:
            return value
        if patience.is_over():
            text = f"not within {patience.waited_s:.0f} s: {what}; last: {value!r}"
            raise AssertionError(text)
        time.sleep(pause_s)
